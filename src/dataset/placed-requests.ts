/**
 * Where in the log each request stands: before the record at its position, else before the first record of its user's
 * partition that had arrived when it was made, the lag taken off. One with both, under a lag, where either comes first.
 */
import type { InputAhead } from './input-ahead.ts';
import type { Request } from './request.ts';
import type { RequestOrder } from './request-order.ts';

export interface PlacedRequest {
  readonly request: Request;
  /** Features of versions below it are what the request may know. */
  readonly position: number;
  /** The log's clock there: nothing that arrived later may be known. Never goes back from one request to the next. */
  readonly clockMs: number;
}

export class PlacedRequests {
  /** Requests that stood after the log's end, and before what is left of its beginning. */
  readonly outside = { afterEnd: 0, beforeStart: 0 };
  private readonly byPosition: Head;
  private readonly byTime: Head;
  private readonly input: InputAhead;
  private readonly start: number;
  private readonly lagMs: number;

  constructor(order: RequestOrder, partition: number, input: InputAhead, lagMs: number) {
    this.byPosition = new Head(order.read(partition, 'position'));
    this.byTime = new Head(order.read(partition, 'time'));
    this.input = input;
    this.start = input.from;
    this.lagMs = lagMs;
  }

  /** The next ones, at most `max`, of those that stand where the input is in memory; at its end of all. */
  async take(max: number): Promise<PlacedRequest[]> {
    const placed: PlacedRequest[] = [];
    while (placed.length < max) {
      const [positioned, timed] = [await this.byPosition.peek(), await this.byTime.peek()];
      const atPosition = positioned === undefined ? undefined : this.positionOf(positioned.position!);
      const atTime = timed === undefined ? undefined : this.positionAt(this.timeOf(timed));
      if (atPosition !== undefined && (atTime === undefined || atPosition <= atTime)) {
        this.byPosition.drop();
        if (!this.isEarlierByTime(positioned!, atPosition)) placed.push(this.atPosition(positioned!, atPosition));
      } else if (atTime !== undefined) {
        this.byTime.drop();
        const { position } = timed!;
        const other = position === null ? undefined : this.positionOf(position);
        if (other === undefined || atTime < other) placed.push(this.atTime(timed!, atTime));
      } else break;
    }
    return placed;
  }

  async hasMore(): Promise<boolean> {
    return (await this.byPosition.peek()) !== undefined || (await this.byTime.peek()) !== undefined;
  }

  async close(): Promise<void> {
    await this.byPosition.close();
    await this.byTime.close();
  }

  /** Undefined: further on than what is in memory. */
  private positionOf(offset: number): number | undefined {
    const { from, to, isLast } = this.input;
    if (offset < to) return Math.max(from, offset);
    return isLast ? to : undefined;
  }

  private positionAt(timeMs: number): number | undefined {
    return this.input.firstAt(timeMs) ?? (this.input.isLast ? this.input.to : undefined);
  }

  private timeOf({ timeMs }: Request): number {
    return Math.max(0, timeMs! - this.lagMs);
  }

  /** Whether the other order has given the request already. */
  private isEarlierByTime(request: Request, position: number): boolean {
    if (this.lagMs === 0 || request.timeMs === null) return false;
    return this.input.arrivalBefore(position) >= this.timeOf(request);
  }

  private atPosition(request: Request, position: number): PlacedRequest {
    if (request.position! > position) this.outside.afterEnd += 1;
    if (request.position! < this.start) this.outside.beforeStart += 1;
    return { request, position, clockMs: this.input.arrivalBefore(position) };
  }

  private atTime(request: Request, position: number): PlacedRequest {
    const clockMs = this.timeOf(request);
    if (this.input.firstAt(clockMs) === undefined) this.outside.afterEnd += 1;
    return { request, position, clockMs };
  }
}

/** The next of a sequence, looked at before it is taken. */
class Head {
  private readonly requests: AsyncGenerator<Request>;
  private next: Request | undefined;
  private isRead = false;

  constructor(requests: AsyncGenerator<Request>) {
    this.requests = requests;
  }

  async peek(): Promise<Request | undefined> {
    if (!this.isRead) {
      const read = await this.requests.next();
      this.next = read.done === true ? undefined : read.value;
      this.isRead = true;
    }
    return this.next;
  }

  drop(): void {
    this.isRead = false;
  }

  async close(): Promise<void> {
    await this.requests.return(undefined);
  }
}
