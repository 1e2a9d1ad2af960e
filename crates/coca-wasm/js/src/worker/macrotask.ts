let channel: MessageChannel | undefined;
const waiting: (() => void)[] = [];

/**
 * Lets the worker receive its messages, of which the most important is "abort". Awaiting a settled promise does not:
 * microtasks run before any message. (`setTimeout` does too, but waits 4 ms when nested.)
 */
export function macrotask(): Promise<void> {
  if (!channel) {
    channel = new MessageChannel();
    channel.port1.onmessage = () => waiting.shift()?.();
  }
  const { port2 } = channel;
  return new Promise((resolve) => {
    waiting.push(resolve);
    port2.postMessage(null);
  });
}
