// OpenAI's client: the chunks one by one, and the completion that its own helper makes of them.
import OpenAI from 'openai';
import { serve } from './commands.mjs';

const ask = { model: 'org/model', messages: [{ role: 'user', content: 'Hi' }] };

serve({
  async chunks({ url }) {
    const client = new OpenAI({ baseURL: url, apiKey: 'key', maxRetries: 0 });
    const chunks = [];
    try {
      for await (const chunk of await client.chat.completions.create({ ...ask, stream: true })) chunks.push(chunk);
    } catch (error) {
      return { chunks, error: { name: error.constructor.name, message: error.message } };
    }
    return { chunks, error: null };
  },
  async whole({ url }) {
    const client = new OpenAI({ baseURL: url, apiKey: 'key', maxRetries: 0 });
    return await client.chat.completions.stream(ask).finalChatCompletion();
  },
});
