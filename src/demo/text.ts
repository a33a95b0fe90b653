/** The demo's words on a terminal, at most 100 columns wide. */
import { relative } from 'node:path';
import type { Config } from '../base/config.ts';
import type { Arm } from '../quality/rankers.ts';
import type { Quality } from '../quality/evaluate.ts';
import type { RankedItem } from '../quality/rank-for-user.ts';
import { count, type Played } from './play.ts';
import type { Story } from './stories.ts';

export function playedText(played: Played): string {
  const rejected = Object.entries(played.rejected).map(([cause, times]) => `${count(times)} ${cause}`);
  return [
    heading('The Deskdrop log, played through Freshet'),
    `  ${count(played.actionsRead)} actions read, ${count(played.accepted)} accepted; not taken as new: ${rejected.join(', ')}`,
    `  ${count(played.features)} sequence-features and ${count(played.joined)} ranking-features records written`,
    `  loaded with daily item and user vectors in ${played.loadSeconds.toFixed(1)} s; features and join in ` +
      `${played.runSeconds.toFixed(1)} s: ${count(played.actionsPerSecond)} actions/s`,
  ].join('\n');
}

export function storyText(story: Story, number: number, endMs: number): string {
  const { newest, windowLength, sealed, sessionLength, nextAction, oneMore } = story;
  const window = newest.map(
    (action) =>
      `    ${age(endMs - action.eventTimeMs).padStart(8)} ago  ${action.actionType.padEnd(9)} ${item(action.itemId)}`,
  );
  const now = story.withRealtime;
  return [
    heading(`User ${number} of those for whom realtime changes most: ${story.userId}`),
    `  ${windowLength} actions in the window, ${sealed} sealed before; this session has ${sessionLength}. The newest:`,
    ...window,
    `  intent: a ${nextAction.type} comes next (${percent(nextAction.probability)}), of ${story.intentFavours.map(item).join(', ')} before others`,
    '',
    `  top of ${story.candidates} candidates, as the reference ranker has them where it knows realtime`,
    '    without realtime       with realtime          after one more like',
    ...now.map((ranked, place) => {
      const columns = [story.withoutRealtime[place], ranked, oneMore.withRealtime[place]];
      return `  ${place + 1} ${columns.map((each) => cell(each)).join('  ')}`.trimEnd();
    }),
    `  One more like, of ${item(oneMore.action.itemId)}, turns the intent by ${oneMore.turnDegrees.toFixed(1)}°, and the item leaves the list.`,
  ].join('\n');
}

const NAMES: Readonly<Record<Arm, string>> = {
  np: 'baseline (not personal)',
  'np+longterm': 'long-term only',
  'np+intent': 'realtime',
  hybrid: 'hybrid',
};

export function qualityText(quality: Quality): string {
  const rows = quality.arms.map(({ arm, mrr, recall10 }) => {
    const over = quality.differences.find((each) => each.arm === arm && each.other === 'np' && each.metric === 'mrr');
    const gain =
      over === undefined
        ? ''
        : `     ${signed(over.mean)} [${signed(over.low)}, ${signed(over.high)}] over the baseline`;
    return `  ${NAMES[arm].padEnd(24)} ${mrr.toFixed(4)}  ${recall10.toFixed(3)}${gain}`;
  });
  const rest = quality.differences
    .filter(({ arm, other, metric }) => arm === 'hybrid' && other !== 'np' && metric === 'mrr')
    .map(({ other, mean, low, high }) => {
      const shown = low > 0 || high < 0 ? '' : ': no difference shown';
      return `  hybrid over ${NAMES[other]}: ${signed(mean)} [${signed(low)}, ${signed(high)}]${shown}`;
    });
  const from = new Date(quality.fromMs).toISOString().slice(0, 10);
  return [
    heading('What it is worth, measured just now'),
    `  ${count(quality.requests)} requests of ${count(quality.users)} users from ${from} on: which unseen item comes next, of ` +
      `${quality.candidatesPerRequest.toFixed(0)}?`,
    '  Everything was trained before that day; 95 % intervals over users.',
    '',
    '                           MRR     Recall@10',
    ...rows,
    ...rest,
  ].join('\n');
}

/** Where the result of the demo lies; `flags` are those that commands need to look at it. */
export interface Place {
  readonly text: string;
  readonly flags: string;
}

export function placeOf({ dataDir, brokers, registry }: Pick<Config, 'dataDir' | 'brokers' | 'registry'>): Place {
  const below = relative(process.cwd(), dataDir);
  const folder = below === '' || below.startsWith('..') ? dataDir : below;
  if (brokers.length === 0) {
    return { text: `all data is in ${folder} (log, stores, schema ids)`, flags: `--data-dir=${folder}` };
  }
  const text = `the topics are in Kafka, the stores, a cache of them, in ${folder}`;
  return { text, flags: `--brokers=${brokers.join(',')} --registry=${registry} --data-dir=${folder}` };
}

/** `place` is null where nothing is left of the demo. */
export function nextText(place: Place | null, story: Story | undefined, ranked: number, seconds: number): string {
  if (place === null) {
    return [
      heading('What to try next'),
      `  ${count(ranked)} users joined and scored, on a Kafka that has ended with the demo. It took ${seconds.toFixed(0)} s.`,
      '  To look around afterwards, start one that stays (`npm run kafka`) and give its addresses to the demo:',
      '    npx freshet demo --kafka --brokers=HOST:PORT --registry=URL',
      '    npx freshet --help',
    ].join('\n');
  }
  const at = place.flags;
  const user = story?.userId ?? '';
  const items = story?.withRealtime.slice(0, 3).map(({ itemId }) => itemId) ?? [];
  const commands =
    story === undefined
      ? []
      : [
          `npx freshet inspect --user=${user} --json ${at}`,
          `npx freshet join --user=${user} --items=${items.join(',')} ${at}`,
          `npx freshet read sequence-features --user=${user} --limit=1 --json ${at}`,
        ];
  return [
    heading('Where it lies, and what to try next'),
    `  ${count(ranked)} users joined and scored; ${place.text}. It took ${seconds.toFixed(0)} s.`,
    ...[...commands, `npx freshet topics list ${at}`, 'npx freshet --help'].map((command) => `    ${command}`),
  ].join('\n');
}

const heading = (text: string): string => `\n${text}\n${'─'.repeat(text.length)}`;

/** Ids are long: their last digits tell them apart. */
const item = (itemId: string): string => (itemId.length > 10 ? `…${itemId.slice(-8)}` : itemId);

const cell = (ranked: RankedItem | undefined): string =>
  (ranked === undefined ? '' : `${item(ranked.itemId).padEnd(10)} ${percent(ranked.probability).padStart(5)}`).padEnd(
    21,
  );

const percent = (share: number): string => `${(share * 100).toFixed(share < 0.0995 ? 1 : 0)} %`;

const signed = (value: number): string => `${value < 0 ? '−' : '+'}${Math.abs(value).toFixed(4)}`;

function age(ms: number): string {
  const minutes = ms / 60_000;
  if (minutes < 60) return `${Math.round(minutes)} min`;
  return minutes < 2_880 ? `${Math.round(minutes / 60)} h` : `${Math.round(minutes / 1_440)} d`;
}
