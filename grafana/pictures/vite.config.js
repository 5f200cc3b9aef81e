import react from '@vitejs/plugin-react';
import { defineConfig } from 'vite';

// Grafana's packages expect what its own build defines.
export default defineConfig({
  base: './',
  build: { outDir: '../../.cache/pictures/page', emptyOutDir: true, chunkSizeWarningLimit: 10_000 },
  define: { global: 'globalThis', 'process.env.NODE_ENV': '"production"' },
  plugins: [react()],
});
