// From Prometheus's answers to Grafana's data frames, as Grafana's data source makes them.
import { FieldType, createDataFrame, getDisplayProcessor, stringToJsRegex } from '@grafana/data';

export const NUMBER = (text) => (text === '+Inf' ? Infinity : text === '-Inf' ? -Infinity : Number(text));

export function legend(target, labels) {
  const { __name__: name, ...others } = labels;
  if (target.legendFormat && target.legendFormat !== '__auto') {
    return target.legendFormat.replace(/{{\s*(\w+)\s*}}/g, (_, label) => labels[label] ?? '');
  }
  return Object.entries(others).map(([label, value]) => `${label}="${value}"`).join(', ') || (name ?? 'value');
}

function withDisplay(field, theme) {
  field.display = getDisplayProcessor({ field, theme, timeZone: 'utc' });
  return field;
}

// A panel's defaults, and what its overrides say of the field of this name or of this query.
export function configOf(panel, name, refId) {
  const { defaults = {}, overrides = [] } = panel.fieldConfig;
  const config = { ...defaults, custom: { ...defaults.custom } };
  if (defaults.thresholds) {
    // JSON has no -Infinity.
    const steps = defaults.thresholds.steps.map((step) => ({ ...step, value: step.value ?? -Infinity }));
    config.thresholds = { ...defaults.thresholds, steps };
  }
  for (const { matcher, properties } of overrides) {
    const matches = matcher.id === 'byType' || [name, refId].includes(matcher.options);
    for (const { id, value } of matches ? properties : []) {
      if (id.startsWith('custom.')) config.custom[id.slice('custom.'.length)] = value;
      else config[id] = value;
    }
  }
  return config;
}

// One frame a series. In a graph what is no number is a gap, as Grafana has it.
export function seriesFrames(panel, answers, theme) {
  const drawable = (text) => (panel.type === 'timeseries' && !Number.isFinite(NUMBER(text)) ? null : NUMBER(text));
  let seriesIndex = 0;
  const rename = panel.transformations?.find(({ id }) => id === 'renameByRegex')?.options;
  const mode = panel.type === 'timeseries' ? 'palette-classic' : 'thresholds';
  return panel.targets.flatMap((target, number) =>
    answers[number].map((series) => {
      const whole = legend(target, series.metric);
      const name = rename ? whole.replace(stringToJsRegex(rename.regex), rename.renamePattern) : whole;
      const points = series.values ?? [series.value];
      const config = { color: { mode }, ...configOf(panel, name, target.refId), displayName: name };
      const frame = createDataFrame({
        refId: target.refId,
        fields: [
          { name: 'Time', type: FieldType.time, values: points.map(([time]) => time * 1000) },
          { name, type: FieldType.number, config, labels: series.metric, values: points.map(([, text]) => drawable(text)) },
        ],
      });
      frame.fields[1].state = { seriesIndex: seriesIndex++ };
      frame.fields.forEach((field) => withDisplay(field, theme));
      return frame;
    })
  );
}

// The answers of all targets side by side, merged, organized and sorted as the panel says.
export function tableFrame(panel, answers, theme) {
  const rows = [];
  panel.targets.forEach((target, number) => {
    const column = panel.targets.length > 1 ? `Value #${target.refId}` : 'Value';
    for (const { metric, value } of answers[number]) {
      const { __name__: _, ...labels } = metric;
      const fits = (row) => !(column in row) && Object.entries(labels).every(([k, v]) => !(k in row) || row[k] === v);
      let row = rows.find(fits);
      if (!row) rows.push((row = {}));
      Object.assign(row, labels, { [column]: NUMBER(value[1]) });
    }
  });
  const organize = panel.transformations?.find(({ id }) => id === 'organize')?.options ?? {};
  const names = (key) => organize.renameByName?.[key] ?? key;
  const sort = panel.transformations?.find(({ id }) => id === 'sortBy')?.options.sort[0];
  if (sort) {
    const text = (row) => String(row[sort.field] ?? '');
    rows.sort((a, b) => text(a).localeCompare(text(b), undefined, { numeric: true }));
  }
  const by = panel.options.sortBy?.[0];
  const value = (row) => Object.entries(row).find(([key]) => names(key) === by.displayName)?.[1] ?? -Infinity;
  if (by) rows.sort((a, b) => value(b) - value(a));
  const keys = [...new Set(rows.flatMap((row) => Object.keys(row)))].filter((key) => !organize.excludeByName?.[key]);
  keys.sort((a, b) => a.startsWith('Value') - b.startsWith('Value') || (a.startsWith('Value') ? a.localeCompare(b) : 0));
  return createDataFrame({
    fields: keys.map((key) => {
      const name = names(key);
      const isNumber = key.startsWith('Value');
      const config = isNumber ? configOf(panel, name) : {};
      const field = { name, type: isNumber ? FieldType.number : FieldType.string, config, values: rows.map((row) => row[key] ?? null) };
      return withDisplay(field, theme);
    }),
  });
}
