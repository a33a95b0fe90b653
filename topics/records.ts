/** The decoded values of the topics, as avsc gives them: longs are numbers (below 2^52 in size, checked), bytes are Buffers. */

export interface UserActionRecord {
  userId: string;
  itemId: string;
  actionType: string;
  eventTimeMs: number;
  surface: string | null;
}

export interface ControlRecord {
  activation: { version: string; rowCount: number; contentHash: string; space: string } | null;
  expire: { seenVersion: number } | null;
}

export interface ItemEmbeddingRecord {
  version: string;
  itemId: string;
  vector: Buffer | null;
  scale: number;
  manifest: ItemManifest | null;
}

export interface ItemManifest {
  base: string | null;
  rowCount: number;
  contentHash: string;
  space: string;
  dimension: number;
}

export interface UserEmbeddingRecord {
  userId: string;
  version: string;
  asOfMs: number;
  space: string;
  vector: number[];
}

/** Actions as columns; the schema says what each holds. */
export interface ActionColumns {
  itemIds: string[];
  eventTimeMs: number;
  gapsMs: number[];
  actionTypes: string[];
  actionTypeIndex: number[];
  surfaces: string[];
  surfaceIndex: number[];
}

export interface EnvelopeRecord {
  newestEventTimeMs: number;
  newestArrivalTimeMs: number;
  accepted: number;
  duplicate: number;
  late: number;
  future: number;
  rejected: number;
}

export interface SequenceStateRecord extends ActionColumns {
  name: string;
  leftEdge: { eventTimeMs: number; itemId: string; actionType: string } | null;
  sealed: number;
  chunks: number;
  counterTypes: string[];
  counters: number[];
}

/** The first fields of `sequence-features`: they restore the user exactly. */
export interface UserStateRecord {
  userId: string;
  version: number;
  firstOffset: number;
  partition: number;
  envelope: EnvelopeRecord;
  sequences: SequenceStateRecord[];
}

export interface SequenceViewRecord {
  name: string;
  hiddenPositions: number[];
  counters: number[];
  counterTypes: string[];
}

export interface SessionRecord {
  length: number;
  ageMs: number;
  gapMs: number;
}

export interface IntentRecord {
  outcome: string;
  vector: number[];
}

/** The derived fields of `sequence-features`. */
export interface DescriptionRecord {
  views: SequenceViewRecord[];
  session: SessionRecord;
  scoredSequence: string;
  itemVersion: string | null;
  itemsWithVector: number;
  intent: IntentRecord[];
  propensityTypes: string[];
  propensity: number[];
  finite: boolean;
  scorerHash: string;
}

export type SequenceFeaturesRecord = UserStateRecord & DescriptionRecord;

export interface HistoryChunkRecord extends ActionColumns {
  userId: string;
  sequence: string;
  chunk: number;
}

export interface RejectedActionRecord {
  cause: string;
  detail: string;
  partition: number;
  offset: number;
  timestampMs: number;
  key: Buffer | null;
  value: Buffer | null;
  keySize: number;
  valueSize: number;
}

export interface RankingSequenceRecord extends ActionColumns {
  name: string;
  sealed: number;
  counterTypes: string[];
  counters: number[];
}

export interface RealtimeSideRecord {
  partition: number;
  offset: number;
  version: number;
  envelope: EnvelopeRecord;
  sequences: RankingSequenceRecord[];
  session: SessionRecord;
  itemVersion: string | null;
  itemsWithVector: number;
  windowLength: number;
  intent: IntentRecord[];
  propensityTypes: string[];
  propensity: number[];
  finite: boolean;
  scorerHash: string;
}

export interface LongTermSideRecord {
  partition: number;
  offset: number;
  timestampMs: number;
  version: string;
  asOfMs: number;
  space: string;
  vector: number[];
}

export interface RankingFeaturesRecord {
  userId: string;
  hasRealtime: boolean;
  hasLongTerm: boolean;
  realtime: RealtimeSideRecord | null;
  longTerm: LongTermSideRecord | null;
}
