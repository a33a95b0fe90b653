const UNITS_MS: Readonly<Record<string, number>> = { s: 1_000, m: 60_000, h: 3_600_000, d: 86_400_000 };

/** `90d`, `12h`, `30m` or `45s`, in milliseconds; undefined for any other text, and for an age of nothing. */
export function parseAgeMs(text: string): number | undefined {
  const [, count, unit] = /^(\d{1,9})([smhd])$/.exec(text) ?? [];
  const ageMs = Number(count) * (UNITS_MS[unit ?? ''] ?? NaN);
  return ageMs > 0 ? ageMs : undefined;
}
