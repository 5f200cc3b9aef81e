// A dashboard as Grafana lays it out: its JSON and a recorded run's answers come from `window.recorded`.
import { ThemeContext, createTheme, dateTime } from '@grafana/data';
import { GlobalStyles, PanelChrome } from '@grafana/ui';
import { createRoot } from 'react-dom/client';

import { PanelBody } from './panels.jsx';

const COLUMNS = 24;
const ROW_PIXELS = 38;
const GAP_PIXELS = 8;
const MARGIN_PIXELS = 16;

const theme = createTheme({ colors: { mode: 'dark' } });
const { dashboard, answers, values, from, to } = window.recorded;
const timeRange = { from: dateTime(from * 1000), to: dateTime(to * 1000), raw: { from: 'now-1h', to: 'now' } };

const filled = (text) => text.replace(/\$(\w+)/g, (whole, name) => values[name] ?? whole);

function Dashboard() {
  const panels = dashboard.panels.flatMap((panel) => [panel, ...(panel.collapsed ? [] : (panel.panels ?? []))]);
  const unit = (document.getElementById('root').clientWidth - 2 * MARGIN_PIXELS + GAP_PIXELS) / COLUMNS;
  const rows = Math.max(...panels.map(({ gridPos }) => gridPos.y + gridPos.h));
  return (
    <ThemeContext.Provider value={theme}>
      <GlobalStyles />
      <div style={{ background: theme.colors.background.canvas, padding: MARGIN_PIXELS }}>
        <h3>{dashboard.title}</h3>
        <div style={{ position: 'relative', height: rows * ROW_PIXELS }}>
          {panels.map((panel) => (
            <Placed key={panel.id} panel={panel} unit={unit} />
          ))}
        </div>
      </div>
    </ThemeContext.Provider>
  );
}

function Placed({ panel, unit }) {
  const { x, y, w, h } = panel.gridPos;
  const width = Math.floor(w * unit - GAP_PIXELS);
  const height = h * ROW_PIXELS - GAP_PIXELS;
  const style = { position: 'absolute', left: x * unit, top: y * ROW_PIXELS, width, height };
  if (panel.type === 'row') {
    return (
      <div style={{ ...style, paddingTop: GAP_PIXELS, fontWeight: 500 }}>
        {panel.collapsed ? '▸' : '▾'} {panel.title}
      </div>
    );
  }
  return (
    <div style={style} data-panel={filled(panel.title)} data-type={panel.type}>
      <PanelChrome title={filled(panel.title)} width={width} height={height} padding={panel.type === 'table' ? 'none' : 'md'}>
        {(innerWidth, innerHeight) => (
          <PanelBody
            panel={panel}
            answers={answers[panel.id]}
            timeRange={timeRange}
            theme={theme}
            width={innerWidth}
            height={innerHeight}
          />
        )}
      </PanelChrome>
    </div>
  );
}

createRoot(document.getElementById('root')).render(<Dashboard />);
