// The panels: Grafana's own components where its library has them, and small drawings where it has not.
import { BarGauge, BigValue, Table, TimeSeries } from '@grafana/ui';

import { Columns, Heatmap, States } from './drawings.jsx';
import { configOf, seriesFrames, tableFrame } from './frames.js';

export function PanelBody({ panel, answers, ...place }) {
  if (!answers || answers.every((answer) => !answer.length)) {
    return <div data-empty style={{ paddingTop: place.height / 3, textAlign: 'center' }}>{panel.fieldConfig.defaults.noValue}</div>;
  }
  const Body = BODIES[panel.type];
  return <Body panel={panel} answers={answers} {...place} />;
}

function Graph({ panel, answers, timeRange, theme, width, height }) {
  const frames = seriesFrames(panel, answers, theme);
  return (
    <TimeSeries
      frames={frames}
      width={width}
      height={height}
      timeRange={timeRange}
      timeZone="utc"
      legend={{ calcs: [], ...panel.options.legend }}
      options={{}}
    />
  );
}

function Stat({ panel, answers, theme, width, height }) {
  const frames = seriesFrames(panel, answers, theme);
  return (
    <div style={{ display: 'flex' }}>
      {frames.map((frame, number) => {
        const field = frame.fields[1];
        const value = { ...field.display(field.values.at(-1)), title: frames.length > 1 ? field.name : '' };
        return (
          <BigValue
            key={number}
            value={value}
            theme={theme}
            width={width / frames.length}
            height={height}
            colorMode={panel.options.colorMode}
            graphMode="none"
            justifyMode="auto"
          />
        );
      })}
    </div>
  );
}

function Gauges({ panel, answers, theme, width, height }) {
  const frames = seriesFrames(panel, answers, theme);
  return frames.map((frame, number) => {
    const field = frame.fields[1];
    return (
      <BarGauge
        key={number}
        field={field.config}
        display={field.display}
        value={{ ...field.display(field.values.at(-1)), title: field.name }}
        theme={theme}
        width={width}
        height={Math.min(40, height / frames.length)}
        orientation="horizontal"
        displayMode={panel.options.displayMode}
      />
    );
  });
}

function Rows({ panel, answers, theme, width, height }) {
  return <Table data={tableFrame(panel, answers, theme)} width={width} height={height} timeRange={undefined} />;
}

function Distribution({ panel, answers, theme, timeRange, width, height }) {
  return <Heatmap series={answers[0]} unit={panel.options.yAxis.unit} {...{ theme, timeRange, width, height }} />;
}

function Timeline({ panel, answers, theme, timeRange, width, height }) {
  const frames = seriesFrames(panel, answers, theme);
  return <States frames={frames} hasThresholds={!!configOf(panel, '').thresholds} {...{ theme, timeRange, width, height }} />;
}

function Bars({ panel, answers, theme, width, height }) {
  return <Columns frame={tableFrame(panel, answers, theme)} {...{ theme, width, height }} />;
}

const BODIES = {
  timeseries: Graph,
  stat: Stat,
  bargauge: Gauges,
  table: Rows,
  heatmap: Distribution,
  'state-timeline': Timeline,
  'status-history': Timeline,
  barchart: Bars,
};
