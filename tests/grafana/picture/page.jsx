// A dashboard of queried data, drawn by Grafana's panel components. `window.DASHBOARD` is made by ../draw.py.
import React from 'react';
import { createRoot } from 'react-dom/client';
import { createTheme, FieldColorModeId, FieldType, getDisplayProcessor, ThemeContext, ThresholdsMode, toDataFrame } from '@grafana/data';
import { BarGauge, BigValue, BigValueColorMode, BigValueGraphMode, PanelChrome, TimeSeries } from '@grafana/ui';
import { BarGaugeDisplayMode, GraphDrawStyle, LegendDisplayMode, VisibilityMode, VizOrientation } from '@grafana/schema';

const COLUMN = 50; // pixels of a cell of the grid, as Grafana lays it out on 1200
const LINE = 38;
const GAP = 8;
const GAP_MS = 3000; // samples further apart are not joined
const theme = createTheme({ colors: { mode: 'dark' } });
const { title, note, from, to, panels, lines } = window.DASHBOARD;

function frame(panel, series, index) {
  const config = {
    displayName: series.name,
    unit: panel.unit,
    min: panel.min,
    max: panel.max,
    color: { mode: panel.type === 'timeseries' ? FieldColorModeId.PaletteClassic : FieldColorModeId.Thresholds },
    thresholds: { mode: ThresholdsMode.Absolute, steps: panel.steps.map((s) => ({ ...s, value: s.value ?? -Infinity })) },
    custom: {
      axisPlacement: 'auto',
      drawStyle: GraphDrawStyle.Line,
      lineWidth: 1,
      fillOpacity: panel.stacked ? 40 : 8,
      showPoints: VisibilityMode.Auto,
      spanNulls: GAP_MS,
      insertNulls: GAP_MS,
      stacking: panel.stacked ? { mode: 'normal', group: 'A' } : undefined,
    },
  };
  const made = toDataFrame({
    fields: [
      { name: 'Time', type: FieldType.time, values: series.points.map(([seconds]) => seconds * 1000) },
      { name: series.name, type: FieldType.number, values: series.points.map(([, value]) => value), config },
    ],
  });
  for (const field of made.fields) {
    field.state = { seriesIndex: index, displayName: field.type === FieldType.time ? undefined : series.name };
    field.display = getDisplayProcessor({ field, theme });
  }
  return made;
}

function Values({ panel, frames, width, height }) {
  const last = frames.map(({ fields: [, field] }) => {
    const value = field.values[field.values.length - 1];
    return { field, value: { ...field.display(value), title: field.config.displayName } };
  });
  const each = height / last.length;
  if (panel.type === 'stat') {
    return last.map(({ value }, index) => (
      <BigValue key={index} value={value} width={width} height={each} theme={theme} text={{ titleSize: 12 }}
        colorMode={BigValueColorMode.Value} graphMode={BigValueGraphMode.None} />
    ));
  }
  const high = 1.05 * (panel.max ?? Math.max(0, ...last.map(({ value }) => value.numeric)));
  const longest = (of) => last.map(({ value }) => of(value)).reduce((a, b) => (b.length > a.length ? b : a), '');
  const alignment = { title: longest((value) => value.title), text: longest((value) => value.text + (value.suffix ?? '')) };
  return last.map(({ field, value }, index) => (
    <BarGauge key={index} value={value} width={width} height={each - 4} theme={theme} alignmentFactors={alignment}
      field={{ ...field.config, min: 0, max: high }} display={field.display} text={{ titleSize: 12, valueSize: 13 }}
      orientation={VizOrientation.Horizontal} displayMode={BarGaugeDisplayMode.Basic} />
  ));
}

function Body({ panel, width, height }) {
  if (!['timeseries', 'stat', 'bargauge'].includes(panel.type)) {
    const message = `${panel.type}: ${panel.series.length} series; Grafana's package has no component for it`;
    return <div style={{ padding: 8, color: theme.colors.text.secondary }}>{message}</div>;
  }
  const frames = panel.series.map((series, index) => frame(panel, series, index));
  if (panel.type !== 'timeseries') {
    return <Values panel={panel} frames={frames} width={width} height={height} />;
  }
  const range = { from: { valueOf: () => from * 1000 }, to: { valueOf: () => to * 1000 } };
  const legend = { showLegend: frames.length <= 8, displayMode: LegendDisplayMode.List, placement: 'bottom', calcs: [] };
  return <TimeSeries frames={frames} timeRange={range} timeZone="utc" width={width} height={height} theme={theme} legend={legend} />;
}

function Panel({ panel }) {
  const place = { position: 'absolute', left: panel.x * COLUMN, top: panel.y * LINE + 40 };
  if (panel.type === 'row') {
    return <div style={{ ...place, padding: 8, fontSize: 14 }}>▾ {panel.title}</div>;
  }
  const [width, height] = [panel.w * COLUMN - GAP, panel.h * LINE - GAP];
  return (
    <div style={place}>
      <PanelChrome title={panel.title} width={width} height={height} padding="sm">
        {(inner, tall) => <Body panel={panel} width={inner} height={tall} />}
      </PanelChrome>
    </div>
  );
}

const colours = { background: theme.colors.background.canvas, color: theme.colors.text.primary };
createRoot(document.getElementById('root')).render(
  <ThemeContext.Provider value={theme}>
    <style>{'button { color: inherit; background: none; border: none; font-size: 11px }'}</style>
    <div style={{ ...colours, position: 'relative', width: 24 * COLUMN, height: lines * LINE + 70, fontFamily: 'sans-serif' }}>
      <div style={{ padding: 10, fontSize: 17 }}>swarm / {title}</div>
      {panels.map((panel, index) => <Panel key={index} panel={panel} />)}
      <div style={{ position: 'absolute', bottom: 8, left: 8, fontSize: 12, color: theme.colors.text.secondary }}>{note}</div>
    </div>
  </ThemeContext.Provider>
);
