/** Which sequences of a new configuration can be had from those of an old one. */
import type { Config } from '../base/config.ts';
import { FreshetError } from '../base/errors.ts';
import { layoutOf, type SequenceLayout } from '../../state/layout.ts';
import type { Conversion, SequenceSource } from './convert-state.ts';

/**
 * @param isInPlace - whether both write to the same topics, so that chunks that stay the same need not be written.
 * @throws MIGRATION_REFUSED where the old application took no actions of a type that the new one takes, or took some that
 * the new one does not know, or where no old sequence has all the actions of a new one.
 */
export function conversionOf(from: Config, to: Config, isInPlace: boolean): Conversion {
  const refuse = (detail: string): FreshetError => new FreshetError('MIGRATION_REFUSED', detail);
  const unknown = from.actionTypes.filter((type) => !to.actionTypes.includes(type));
  if (unknown.length > 0) {
    throw refuse(`actionTypes lacks ${unknown.join(', ')}, which ${from.appId} took`);
  }
  const [old, next] = [layoutOf(from), layoutOf(to)];
  const sources = next.sequences.map((sequence): SequenceSource => {
    const wanted = typesOf(sequence, to);
    const candidates = old.sequences
      .map((each, index) => ({ each, index, types: typesOf(each, from) }))
      .filter(({ types }) => [...wanted].every((type) => types.has(type)));
    const best =
      candidates.find(({ each }) => each.name === sequence.name) ??
      candidates.find(({ types }) => types.size === wanted.size) ??
      candidates[0];
    if (best === undefined) {
      const detail = `sequence ${sequence.name} takes ${[...wanted].join(', ')}: no sequence of ${from.appId} kept all of these`;
      throw refuse(detail);
    }
    // One that takes everything may hold types that are configured no more.
    const mayHoldMore = best.each.actionTypes === null && sequence.actionTypes !== null;
    const takesSame = best.types.size === wanted.size && !mayHoldMore;
    const sameChunks = best.each.name === sequence.name && best.each.sealSize === sequence.sealSize;
    return { index: best.index, takesSame, keepsChunks: isInPlace && sameChunks && takesSame };
  });
  return { from: old, to: next, sources };
}

const typesOf = ({ actionTypes }: SequenceLayout, config: Config): ReadonlySet<string> =>
  actionTypes ?? new Set(config.actionTypes);
