// Commands as lines of JSON on stdin, side by side; what each returns, or how it fails, as lines on stdout.
import { createInterface } from 'node:readline';

export function serve(commands) {
  for (const name of ['log', 'info', 'error']) console[name] = () => {};
  createInterface({ input: process.stdin }).on('line', async line => {
    const { number, command, ...given } = JSON.parse(line);
    let answer;
    try {
      answer = { number, value: (await commands[command](given)) ?? null };
    } catch (error) {
      answer = { number, failure: String(error?.stack ?? error) };
    }
    process.stdout.write(`${JSON.stringify(answer)}\n`);
  });
}
