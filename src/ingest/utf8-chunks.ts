import { FreshetError } from '../base/errors.ts';

/** The chunks without a UTF-8 byte order mark. Throws INPUT_MALFORMED for UTF-16, which no reader here understands. */
export async function* utf8Chunks(chunks: AsyncIterable<Buffer>): AsyncGenerator<Buffer> {
  let start: Buffer | undefined = Buffer.alloc(0);
  for await (const chunk of chunks) {
    if (start === undefined) {
      yield chunk;
      continue;
    }
    start = Buffer.concat([start, chunk]);
    if (start.length < 3) continue;
    yield withoutMark(start);
    start = undefined;
  }
  if (start !== undefined && start.length > 0) yield withoutMark(start);
}

function withoutMark(start: Buffer): Buffer {
  if (start.length >= 2 && [0xfffe, 0xfeff].includes(start.readUInt16BE())) {
    throw new FreshetError('INPUT_MALFORMED', 'the file is UTF-16', { remedy: 'Convert the file to UTF-8.' });
  }
  return start.indexOf('\ufeff') === 0 ? start.subarray(3) : start;
}
