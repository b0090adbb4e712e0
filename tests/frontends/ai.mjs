// The AI SDK's chat without a page: the classes under `useChat`, of the version that the argument names.
import { serve } from './commands.mjs';

const { AbstractChat, DefaultChatTransport, lastAssistantMessageIsCompleteWithToolCalls, readUIMessageStream } =
  await import(process.argv[2]);

class State {
  status = 'ready';
  error = undefined;
  constructor(messages) {
    this.messages = messages;
  }
  pushMessage = message => void (this.messages = [...this.messages, message]);
  popMessage = () => void (this.messages = this.messages.slice(0, -1));
  replaceMessage = (index, message) => void (this.messages = this.messages.with(index, structuredClone(message)));
  snapshot = value => structuredClone(value);
}

class Chat extends AbstractChat {
  constructor({ messages, ...options }) {
    super({ ...options, state: new State(messages) });
  }
}

const chats = new Map();

const told = name => {
  const { chat, data, finished } = chats.get(name);
  return { status: chat.status, error: chat.error?.message ?? null, messages: chat.messages, data, finished };
};

serve({
  // Begin a chat. `tools`: what the page answers to a call of each, after which it asks again by itself.
  open({ name, api, id, messages = [], tools = {} }) {
    const data = [];
    const finished = [];
    const chat = new Chat({
      id,
      messages,
      transport: new DefaultChatTransport({ api }),
      onData: part => data.push(part),
      onFinish: ({ isAbort, isDisconnect, isError, finishReason }) =>
        finished.push({ isAbort, isDisconnect, isError, finishReason: finishReason ?? null }),
      onToolCall: ({ toolCall }) => {
        if (toolCall.toolName in tools) {
          const { toolName, toolCallId } = toolCall;
          chat.addToolOutput({ tool: toolName, toolCallId, output: tools[toolName] });
        }
      },
      sendAutomaticallyWhen: lastAssistantMessageIsCompleteWithToolCalls,
    });
    chats.set(name, { chat, data, finished });
  },
  async send({ name, text }) {
    await chats.get(name).chat.sendMessage({ text });
    return told(name);
  },
  async resume({ name }) {
    await chats.get(name).chat.resumeStream();
    return told(name);
  },
  async stop({ name }) {
    await chats.get(name).chat.stop();
    return told(name);
  },
  async until({ name, text }) {
    while (!JSON.stringify(chats.get(name).chat.messages).includes(text)) {
      await new Promise(resolve => setTimeout(resolve, 5));
    }
    return told(name);
  },
  state: ({ name }) => told(name),
  // What a transport gives, chunk by chunk, and the message that `readUIMessageStream` makes of it.
  async read({ api, delay = 0 }) {
    const transport = new DefaultChatTransport({ api });
    const messages = [{ id: 'u', role: 'user', parts: [{ type: 'text', text: 'Hi' }] }];
    const stream = await transport.sendMessages({ chatId: 'c', messages, trigger: 'submit-message' });
    const [raw, read] = stream.tee();
    const chunks = [];
    const reading = (async () => {
      for await (const chunk of raw) {
        chunks.push(chunk);
        if (delay) await new Promise(resolve => setTimeout(resolve, delay));
      }
    })();
    const errors = [];
    let message;
    for await (message of readUIMessageStream({ stream: read, onError: error => errors.push(error.message) }));
    await reading;
    return { chunks, message, errors };
  },
});
