import react from '@vitejs/plugin-react';
import { defineConfig } from 'vite';

// Grafana's packages expect what its own build defines.
export default defineConfig({
  base: './',
  build: { outDir: '../../.cache/pictures/page', emptyOutDir: true, chunkSizeWarningLimit: 10_000 },
  // As modules, they would take CommonJS libraries as Node.js does: without their default exports.
  resolve: { alias: { '@grafana/ui': `${import.meta.dirname}/node_modules/@grafana/ui/dist/cjs/index.cjs` } },
  define: { global: 'globalThis', 'process.env.NODE_ENV': '"production"' },
  plugins: [react()],
});
