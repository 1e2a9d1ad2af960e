import { type CocaError, toWire } from "../error.js";
import type { EventOf, HostMessage, LogLevel, MethodName, Params, Result, WorkerMessage } from "../protocol.js";
import { JobQueue, type Turn } from "./queue.js";
import { isTrap, trapError } from "./trap.js";

/** Milliseconds. */
const LOSS_IS_TOLD_WITHIN = 100;

/** The worker's global scope, or one end of a `MessageChannel` in tests. */
export interface ServerPort {
  postMessage(message: WorkerMessage): void;
  addEventListener(type: "message", listener: (event: MessageEvent<HostMessage>) => void): void;
}

/** What a running job can see and say. */
export interface JobContext<M extends MethodName> {
  readonly signal: AbortSignal;
  /** Lets other calls go first; to be awaited between the parts of a long one. */
  readonly turn: Turn;
  emit(event: EventOf<M>): void;
}

/** One function for each method. */
export type Handlers = {
  readonly [M in MethodName]: (params: Params<M>, context: JobContext<M>) => Promise<Result<M>>;
};

/** What the worker can say outside a call. */
export interface Server {
  /** Ends everything: the page rejects all calls with this error and stops the worker. */
  fatal(error: CocaError): void;
  log(level: LogLevel, message: string): void;
}

/** Answers calls from the page, one after the other. */
export function serve(port: ServerPort, makeHandlers: (server: Server) => Handlers): void {
  const queue = new JobQueue();
  const server: Server = {
    fatal: (error) => port.postMessage({ type: "fatal", error: toWire(error) }),
    log: (level, message) => port.postMessage({ type: "log", level, message }),
  };
  const handlers = makeHandlers(server);

  function start<M extends MethodName>(id: number, method: M, params: Params<M>, events: boolean): void {
    const emit = (event: EventOf<M>): void => {
      if (events) port.postMessage({ type: "event", id, event });
    };
    queue
      .run(id, (signal, turn) => handlers[method](params, { signal, turn, emit }))
      .then((value) => port.postMessage({ type: "result", id, value }))
      .catch(async (thrown: unknown) => {
        if (isTrap(thrown)) return server.fatal(trapError(thrown));
        const error = toWire(thrown);
        // Work on a lost device fails a little before the browser tells of the loss, which is the better reason.
        if (error.code === "webgpu-failed") await new Promise((resolve) => setTimeout(resolve, LOSS_IS_TOLD_WITHIN));
        port.postMessage({ type: "error", id, error });
      });
  }

  port.addEventListener("message", ({ data }) => {
    if (data.type === "abort") queue.abort(data.id);
    else start(data.id, data.method, data.params, data.events);
  });
}
