// Texts for numbers of the dataflow.

const whole = new Intl.NumberFormat("en-US", { maximumFractionDigits: 0 });
const compact = new Intl.NumberFormat("en-US", { notation: "compact", maximumSignificantDigits: 3 });

/** An address as text, which identifies an operator. */
export const idOf = (address) => address.join(".");

export const count = (n) => (Math.abs(n) < 10_000 ? whole.format(n) : compact.format(n));

/** A share from 0 to 1 as a percentage. */
export function percent(share) {
  const value = share * 100;
  if (value === 0) return "0 %";
  if (value < 0.1) return "< 0.1 %";
  return `${value < 10 ? value.toFixed(1) : value.toFixed(0)} %`;
}

/** A number per second. */
export function rate(n) {
  if (n === 0) return "0/s";
  if (n < 0.1) return "< 0.1/s";
  return `${n < 10 ? n.toFixed(1) : count(n)}/s`;
}

export function bytes(n) {
  if (n === null || n === undefined) return "–";
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let value = Math.abs(n);
  let unit = 0;
  while (value >= 1024 && unit < units.length - 1) {
    value /= 1024;
    unit++;
  }
  return `${n < 0 ? "−" : ""}${unit === 0 || value >= 100 ? value.toFixed(0) : value.toFixed(1)} ${units[unit]}`;
}

export function duration(ms) {
  if (ms < 1_000) return `${Math.round(ms)} ms`;
  if (ms < 120_000) return `${(ms / 1_000).toFixed(1)} s`;
  if (ms < 7_200_000) return `${Math.round(ms / 60_000)} min`;
  return `${Math.round(ms / 3_600_000)} h`;
}

/** The step of the colour scale for a share of the busy time, from 0 to 4. */
export function heat(share) {
  return [0.01, 0.05, 0.15, 0.3].filter((limit) => share >= limit).length;
}

/** How much more time the slowest worker takes than the mean: 1 is even. `null`: nobody works. */
export function skew(shares) {
  const sum = shares.reduce((a, b) => a + b, 0);
  return sum > 0 ? (Math.max(...shares) * shares.length) / sum : null;
}
