// What Grafana's library does not have: heatmap, state timeline and bar chart, drawn plainly.
import { FieldType, dateTimeFormat, getValueFormat, formattedValueToString } from '@grafana/data';

import { NUMBER } from './frames.js';

const LEFT = 150;
const BOTTOM = 20;
const TICKS = 5;

const format = (unit, value) => (Number.isFinite(value) ? formattedValueToString(getValueFormat(unit)(value)) : '∞');

function TimeAxis({ timeRange, theme, left, width, height }) {
  const [from, to] = [timeRange.from.valueOf(), timeRange.to.valueOf()];
  return Array.from({ length: TICKS }, (_, number) => {
    const share = (number + 0.5) / TICKS;
    const text = dateTimeFormat(from + share * (to - from), { format: 'HH:mm:ss', timeZone: 'utc' });
    return (
      <text key={number} x={left + share * (width - left)} y={height - 5} textAnchor="middle" fill={theme.colors.text.secondary}>
        {text}
      </text>
    );
  });
}

// Cumulative buckets, `le` rising: a cell is what fell between two of them.
export function Heatmap({ series, unit, theme, timeRange, width, height }) {
  const left = 70;
  const buckets = [...series].sort((a, b) => NUMBER(a.metric.le) - NUMBER(b.metric.le));
  const below = (number, time) => NUMBER(buckets[number]?.values.find(([at]) => at === time)?.[1] ?? '0');
  const cells = buckets.flatMap(({ values }, row) =>
    values.map(([time, text]) => ({ row, time, value: Math.max(0, NUMBER(text) - (row ? below(row - 1, time) : 0)) }))
  );
  const used = cells.filter(({ value }) => value > 0).map(({ row }) => row);
  const [lowest, highest] = [Math.min(...used), Math.max(...used)];
  const most = Math.max(...cells.map(({ value }) => value));
  const [from, to] = [timeRange.from.valueOf() / 1000, timeRange.to.valueOf() / 1000];
  const step = buckets[0].values.length > 1 ? buckets[0].values[1][0] - buckets[0].values[0][0] : 1;
  const rowHeight = (height - BOTTOM) / (highest - lowest + 1);
  const x = (time) => left + ((time - from) / (to - from)) * (width - left);
  const shown = cells.filter(({ row, value }) => value > 0 && row >= lowest && row <= highest);
  const every = Math.ceil((highest - lowest + 1) / 8);
  return (
    <svg width={width} height={height} fontSize={11}>
      {shown.map(({ row, time, value }) => (
        <rect
          key={`${row} ${time}`}
          x={x(time - step)}
          y={(highest - row) * rowHeight}
          width={Math.max(1, x(time) - x(time - step) - 1)}
          height={Math.max(1, rowHeight - 1)}
          fill={theme.visualization.getColorByName('orange')}
          opacity={0.1 + 0.9 * Math.sqrt(value / most)}
        />
      ))}
      {buckets.slice(lowest, highest + 1).map(({ metric }, number) =>
        number % every ? null : (
          <text key={metric.le} x={left - 6} y={(highest - lowest - number) * rowHeight + 9} textAnchor="end" fill={theme.colors.text.secondary}>
            {format(unit, NUMBER(metric.le))}
          </text>
        )
      )}
      <TimeAxis {...{ timeRange, theme, left, width, height }} />
    </svg>
  );
}

export function States({ frames, theme, timeRange, width, height }) {
  const [from, to] = [timeRange.from.valueOf(), timeRange.to.valueOf()];
  const rowHeight = Math.min(34, (height - BOTTOM) / frames.length);
  const x = (time) => LEFT + ((time - from) / (to - from)) * (width - LEFT);
  return (
    <svg width={width} height={height} fontSize={11}>
      {frames.map(({ fields: [times, field] }, row) => (
        <g key={row} transform={`translate(0 ${row * rowHeight})`}>
          <text x={LEFT - 6} y={rowHeight / 2 + 4} textAnchor="end" fill={theme.colors.text.primary}>
            {field.name.slice(0, 24)}
          </text>
          {times.values.map((time, number) => {
            const previous = times.values[number - 1] ?? from;
            const value = field.values[number];
            const hasThresholds = field.config.thresholds;
            const color = hasThresholds ? field.display(value).color : value ? 'orange' : 'text';
            return (
              <rect
                key={time}
                x={x(previous)}
                y={2}
                width={Math.max(0, x(time) - x(previous))}
                height={rowHeight - 4}
                fill={theme.visualization.getColorByName(color)}
                opacity={!hasThresholds && !value ? 0.1 : 0.9}
              />
            );
          })}
        </g>
      ))}
      <TimeAxis {...{ timeRange, theme, left: LEFT, width, height }} />
    </svg>
  );
}

export function Columns({ frame, theme, width, height }) {
  const left = 50;
  const top = 20;
  const numbers = frame.fields.filter(({ type }) => type === FieldType.number);
  const names = frame.fields.filter(({ name }) => name === 'bin')[0]?.values ?? [];
  const most = Math.max(...numbers.flatMap(({ values }) => values.filter(Number.isFinite)));
  const count = numbers[0].values.length;
  const slot = (width - left) / count;
  const palette = theme.visualization.palette;
  const scale = (height - BOTTOM - top) / most;
  return (
    <svg width={width} height={height} fontSize={11}>
      {numbers.map((field, group) => (
        <g key={field.name} fill={theme.visualization.getColorByName(palette[group])}>
          <rect x={left + group * 110} y={2} width={12} height={8} />
          <text x={left + 16 + group * 110} y={10}>{field.name}</text>
          {field.values.map((value, number) => (
            <rect
              key={number}
              x={left + number * slot + (group * slot * 0.8) / numbers.length}
              y={height - BOTTOM - (value || 0) * scale}
              width={(slot * 0.8) / numbers.length}
              height={(value || 0) * scale}
            />
          ))}
        </g>
      ))}
      {[0, 0.5, 1].map((share) => (
        <text key={share} x={left - 6} y={height - BOTTOM - share * most * scale + 4} textAnchor="end" fill={theme.colors.text.secondary}>
          {format(numbers[0].config.unit, share * most)}
        </text>
      ))}
      {names.map((name, number) => (
        <text key={number} x={left + (number + 0.4) * slot} y={height - 5} textAnchor="middle" fill={theme.colors.text.secondary}>
          {slot > 26 || number % 2 === 0 ? name : ''}
        </text>
      ))}
    </svg>
  );
}
