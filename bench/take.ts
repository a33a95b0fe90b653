/** The next values of an iterator, at most `count`; unlike a loop over it, this leaves it open for the ones after. */
export function* take<T>(from: Iterator<T, unknown>, count: number): Generator<T, void> {
  for (let taken = 0; taken < count; taken += 1) {
    const next = from.next();
    if (next.done === true) return;
    yield next.value;
  }
}
