/** Bytes for people: `5.1 MB`. */
export function bytes(count: number): string {
  if (count < 1000) return `${Math.round(count)} B`;
  const units = ["kB", "MB", "GB"];
  let value = count / 1000;
  let unit = 0;
  while (value >= 999.5 && unit < units.length - 1) {
    value /= 1000;
    unit += 1;
  }
  return `${value < 9.95 ? value.toFixed(1) : Math.round(value)} ${units[unit]}`;
}

/** Milliseconds for people: `8.4 ms`, `120 ms`, `2.3 s`. */
export function duration(ms: number): string {
  if (ms < 9.95) return `${ms.toFixed(1)} ms`;
  return ms < 999.5 ? `${Math.round(ms)} ms` : `${(ms / 1000).toFixed(1)} s`;
}

/** A length of time in whole seconds or minutes, for people: `8 s`, `3 min`. */
export function seconds(value: number): string {
  return value < 99.5 ? `${Math.max(1, Math.round(value))} s` : `${Math.round(value / 60)} min`;
}

/** A number to two or three figures: `0.31`, `8.4`, `212`. */
export function figure(value: number): string {
  return value < 1 ? value.toFixed(2) : value < 9.95 ? value.toFixed(1) : String(Math.round(value));
}

/** A large count for people: `5.2 million`. */
export function count(value: number): string {
  if (value < 1e6) return value.toLocaleString("en");
  return value < 1e9 ? `${(value / 1e6).toFixed(1)} million` : `${(value / 1e9).toFixed(1)} billion`;
}

/** A score between 0 and 1 as per cent; never `0 %` or `100 %` for what is not. */
export function percent(score: number): string {
  const value = score * 100;
  if (value > 0 && value < 0.1) return "< 0.1 %";
  if (value < 100 && value > 99.9) return "> 99.9 %";
  return `${value.toFixed(1)} %`;
}
