/**
 * The product in two minutes: the shipped log through load, vectors, features and join; then what a visitor would want to
 * see of it: a few users, what realtime changes for them, what it is worth on the test, and what to try next.
 */
import type { Deployment } from '../run/deployment.ts';
import { hashDeployment } from '../run/inspect.ts';
import { actionsByEventTime } from '../vectors/actions-by-event-time.ts';
import { readRecipes } from '../vectors/recipes.ts';
import { evaluate, type Quality } from '../quality/evaluate.ts';
import { Rankers } from '../quality/rankers.ts';
import { ReferenceRanker } from '../quality/reference-ranker.ts';
import { layoutOf } from '../../state/layout.ts';
import { count, play, type Tell } from './play.ts';
import { scoreUsers } from './score-users.ts';
import { shift, storyUsers, tell, type Story, type StoryTime } from './stories.ts';
import { nextText, placeOf, playedText, qualityText, storyText } from './text.ts';

export interface DemoOptions {
  readonly deployment: Deployment;
  /** Shown on the terminal; the result is not. */
  readonly show: (text: string) => void;
  readonly progress: Tell;
  /** Whether what the demo made is there afterwards. */
  readonly lasts: boolean;
}

export interface DemoResult {
  readonly actionsRead: number;
  readonly accepted: number;
  /** By cause; `duplicate`, `late` and `future` are always there. */
  readonly rejected: Readonly<Record<string, number>>;
  readonly users: number;
  /** `sequence-features` records written. */
  readonly features: number;
  /** Users joined and scored. */
  readonly ranked: number;
  /** SHA-256 over the newest features of every user: the same on the embedded log and on Kafka. */
  readonly featuresHash: string;
  readonly actionsPerSecond: number;
  readonly quality: Quality;
  readonly seconds: number;
}

const STORIES = 3;
/** Users that the stories are chosen from. */
const STORIES_FROM = 40;

export async function runDemo({ deployment, show, progress, lasts }: DemoOptions): Promise<DemoResult> {
  const startMs = performance.now();
  const { config, log, codec } = deployment;
  const [scorer, rankers, recipes] = [await deployment.loadScorer(), await Rankers.load(), await readRecipes()];
  const reference = await ReferenceRanker.load();
  const played = await play(deployment, scorer, recipes, progress);
  show(playedText(played));

  const layout = layoutOf(config);
  const { quality, end } = await evaluate({
    actions: actionsByEventTime(log, codec),
    layout,
    recipes,
    rankers,
    scorer,
    onProgress: ({ actions, requests }) => {
      progress(`measuring: ${count(actions)} actions, ${count(requests)} requests ranked`, { actions, requests });
    },
  });
  const timeMs = end.popularity.newestEventTimeMs + 1_000;
  const time = { layout, popularity: end.popularity, table: end.table, scorer, rankers, reference, timeMs };
  const told = await tellStories(await storyUsers(deployment, layout, timeMs), deployment, time);
  told.forEach((story, index) => {
    show(storyText(story, index + 1, timeMs));
  });
  const candidates = end.popularity.candidates(timeMs, []);
  const { users, ranked } = await scoreUsers(deployment, candidates);
  const seconds = (performance.now() - startMs) / 1000;
  show(qualityText(quality));
  const { featuresHash } = await hashDeployment(deployment);
  show(nextText(lasts ? placeOf(config) : null, told[0], ranked, seconds));
  const { actionsRead, accepted, rejected, features, actionsPerSecond } = played;
  return {
    actionsRead,
    accepted,
    rejected,
    users,
    features,
    ranked,
    featuresHash,
    actionsPerSecond,
    quality,
    seconds: Math.round(seconds * 10) / 10,
  };
}

/** Of the users who came last, those for whom realtime changes most. */
async function tellStories(userIds: readonly string[], deployment: Deployment, time: StoryTime): Promise<Story[]> {
  const told: Story[] = [];
  for (const userId of userIds.slice(0, STORIES_FROM)) {
    const story = await tell(userId, deployment, time);
    if (story !== undefined) told.push(story);
  }
  return told.sort((a, b) => shift(b) - shift(a)).slice(0, STORIES);
}
