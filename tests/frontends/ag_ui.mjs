// AG-UI's client: an agent behind HTTP, and each event held against the published schemas.
import { HttpAgent } from '@ag-ui/client';
import { EventSchemas } from '@ag-ui/core/schemas';
import { serve } from './commands.mjs';

const warnings = [];
console.warn = (...words) => warnings.push(words.join(' '));

const agents = new Map();

serve({
  async run({ url, name = 'agent', text, tools = [], answers = {} }) {
    if (!agents.has(name)) agents.set(name, new HttpAgent({ url, threadId: 'thread' }));
    const agent = agents.get(name);
    if (text !== undefined) agent.addMessage({ id: `u${agent.messages.length}`, role: 'user', content: text });
    const events = [];
    const invalid = [];
    const called = [];
    let error = null;
    try {
      await agent.runAgent({ tools }, {
        onEvent: ({ event }) => {
          events.push(event);
          const result = EventSchemas.safeParse(event);
          if (!result.success) invalid.push(result.error.message);
        },
        onToolCallEndEvent: ({ event, toolCallName, toolCallArgs }) =>
          void called.push([event.toolCallId, toolCallName, toolCallArgs]),
      });
    } catch (failure) {
      error = failure.message;
    }
    for (const [id, tool] of called) {
      if (tool in answers) {
        agent.addMessage({ id: `t${agent.messages.length}`, role: 'tool', toolCallId: id, content: answers[tool] });
      }
    }
    return { events, invalid, called, error, warnings, messages: agent.messages };
  },
  abort: ({ name = 'agent' }) => agents.get(name).abortRun(),
});
