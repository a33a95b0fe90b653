/**
 * Which ACL a refusal asks for. A broker's answer only says what kind of thing is not allowed; what was asked, and of
 * which topic, is not in kafkajs's errors, so it is noted here, for every client of the process.
 *
 * Of the answers to AddPartitionsToTxn kafkajs throws the first. Where one topic is refused the others are "not
 * attempted", which would be tried again for nothing: the refusal is put first.
 */
import { createRequire } from 'node:module';

/** What an answer to AddPartitionsToTxn holds. */
interface TopicAnswers {
  errors: { readonly topic: string; readonly partitionErrors: readonly { readonly errorCode: number }[] }[];
}

interface Call {
  readonly request: { readonly apiName: string };
  readonly response: { decode(payload: Buffer): Promise<unknown>; parse(decoded: unknown): Promise<unknown> };
}

interface Connection {
  send(call: Call): Promise<unknown>;
}

interface Asked {
  readonly request: string;
  readonly topic?: string;
}

const asked = new WeakMap<object, Asked>();
const OPERATION_NOT_ATTEMPTED = 55;

const connection = (
  createRequire(import.meta.url)('kafkajs/src/network/connection.js') as { readonly prototype: Connection }
).prototype;
// eslint-disable-next-line @typescript-eslint/unbound-method -- called with `this` below
const send = connection.send;
connection.send = async function sendNoted(this: Connection, call) {
  const request = call.request.apiName;
  try {
    return await send.call(this, request === 'AddPartitionsToTxn' ? withRefusalFirst(call) : call);
  } catch (error) {
    if (typeof error === 'object' && error !== null && !asked.has(error)) asked.set(error, { request });
    throw error;
  }
};

function withRefusalFirst(call: Call): Call {
  const parse = async (decoded: unknown): Promise<unknown> => {
    const answers = decoded as TopicAnswers;
    const isRefused = ({ partitionErrors }: TopicAnswers['errors'][number]): boolean =>
      partitionErrors.some(({ errorCode }) => errorCode !== 0 && errorCode !== OPERATION_NOT_ATTEMPTED);
    const refused = answers.errors.find(isRefused);
    if (refused === undefined) return call.response.parse(decoded);
    try {
      return await call.response.parse({ ...answers, errors: [refused] });
    } catch (error) {
      asked.set(error as Error, { request: call.request.apiName, topic: refused.topic });
      throw error;
    }
  };
  return { ...call, response: { ...call.response, parse } };
}

const ON_TOPIC: Readonly<Record<string, string>> = {
  Produce: 'Write',
  AddPartitionsToTxn: 'Write',
  CreateTopics: 'Describe, or Create if it is absent,',
  ListOffsets: 'Describe',
  Metadata: 'Describe',
  OffsetFetch: 'Describe',
  DescribeConfigs: 'DescribeConfigs',
  AlterConfigs: 'AlterConfigs',
};
const ON_GROUP: Readonly<Record<string, string>> = { OffsetFetch: 'Describe', GroupCoordinator: 'Describe' };

/** Of an error with this code of the protocol: e.g. `Write on the topic`; undefined if the code is no refusal. */
export function missingAcl(code: string, error: unknown): string | undefined {
  const { request = '', topic } = askedFor(error) ?? {};
  switch (code) {
    case 'TOPIC_AUTHORIZATION_FAILED':
      return `${ON_TOPIC[request] ?? 'Read'} on the topic${topic === undefined ? '' : ` ${topic}`}`;
    case 'GROUP_AUTHORIZATION_FAILED':
      return `${ON_GROUP[request] ?? 'Read'} on the group that is named by the app id`;
    case 'TRANSACTIONAL_ID_AUTHORIZATION_FAILED':
      return 'Write on the transactional ids that begin with the app id';
    case 'CLUSTER_AUTHORIZATION_FAILED':
      // What is asked of the cluster is asked of topics as well, and one of the two suffices.
      return request === 'CreateTopics' ? 'Create on the topics' : 'Write on the topics';
    default:
      return undefined;
  }
}

/** Several topics may fail to be created; the first one is named. */
function askedFor(error: unknown): Asked | undefined {
  if (typeof error !== 'object' || error === null) return undefined;
  const { cause, errors, topic } = error as { cause?: unknown; errors?: readonly { topic?: string }[]; topic?: string };
  const inner = asked.get(error) ?? askedFor(errors?.[0] ?? cause);
  const named = errors?.[0]?.topic ?? topic;
  return inner === undefined || named === undefined ? inner : { ...inner, topic: named };
}
