// The official OpenAI SDK for Node, unchanged but for its base URL.
import assert from 'node:assert/strict';
import { test } from 'node:test';

import OpenAI, { toFile } from 'openai';

import { direct, failing, gateway, key, millisecondsUntilCancelled } from './stand.mjs';

const client = new OpenAI({ baseURL: `${gateway}/v1`, apiKey: key, maxRetries: 0, timeout: 20_000 });
const forErrors = new OpenAI({ baseURL: `${failing}/v1`, apiKey: key, maxRetries: 0, timeout: 20_000 });
const says = (content) => [{ role: 'user', content }];
const PIXEL =
  'data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==';
const WEATHER = {
  type: 'function',
  function: {
    name: 'weather',
    parameters: {
      type: 'object',
      properties: { place: { type: 'string' }, days: { type: 'integer' } },
      required: ['place'],
    },
  },
};

test('a chat completion answers and counts', async () => {
  const reply = await client.chat.completions.create({ model: 'lab-echo', messages: says('all hands on deck') });
  assert.equal(reply.choices[0].message.content, 'all hands on deck');
  assert.equal(reply.choices[0].finish_reason, 'stop');
  assert.ok(reply.usage.completion_tokens > 0);
});

test('a streamed chat completion is the same text', async () => {
  const stream = await client.chat.completions.create({
    model: 'lab-echo',
    messages: says('all hands on deck'),
    stream: true,
    stream_options: { include_usage: true },
  });
  let text = '';
  let usage;
  for await (const chunk of stream) {
    text += chunk.choices[0]?.delta.content ?? '';
    usage = chunk.usage ?? usage;
  }
  assert.equal(text, 'all hands on deck');
  assert.ok(usage.completion_tokens > 0);
});

test('silence between tokens is bridged by heartbeats that the SDK ignores', async () => {
  const stream = await client.chat.completions.create(
    { model: 'lab-tokens-3', messages: says('slowly'), stream: true },
    { headers: { 'x-lab-interval-ms': '700' } },
  );
  let tokens = 0;
  for await (const chunk of stream) tokens += chunk.choices[0]?.delta.content ? 1 : 0;
  assert.equal(tokens, 3);
});

test('tools are called, whole and streamed', async () => {
  const whole = await client.chat.completions.create({ model: 'lab-tools', messages: says('how is it?'), tools: [WEATHER] });
  const call = whole.choices[0].message.tool_calls[0].function;
  assert.equal(whole.choices[0].finish_reason, 'tool_calls');
  const streamed = await client.chat.completions
    .stream({ model: 'lab-tools', messages: says('how is it?'), tools: [WEATHER] })
    .finalChatCompletion();
  const streamedCall = streamed.choices[0].message.tool_calls[0].function;
  for (const one of [call, streamedCall]) {
    assert.equal(one.name, 'weather');
    assert.deepEqual(Object.keys(JSON.parse(one.arguments)), ['place']);
  }
});

test('images go in', async () => {
  const content = [
    { type: 'text', text: 'what is this' },
    { type: 'image_url', image_url: { url: PIXEL } },
  ];
  const reply = await client.chat.completions.create({ model: 'lab-echo', messages: [{ role: 'user', content }] });
  assert.match(reply.choices[0].message.content, /what is this/);
});

test('embeddings are vectors', async () => {
  const reply = await client.embeddings.create({ model: 'lab-echo', input: ['ebb', 'flow'] });
  assert.equal(reply.data.length, 2);
  assert.ok(reply.data[0].embedding.length > 0);
  assert.notDeepEqual(reply.data[0].embedding, reply.data[1].embedding);
});

test('responses answer, whole and streamed', async () => {
  const whole = await client.responses.create({ model: 'lab-echo', input: 'high water' });
  assert.match(whole.output_text, /high water/);
  let last;
  let text = '';
  for await (const event of await client.responses.create({ model: 'lab-echo', input: 'high water', stream: true })) {
    last = event;
    if (event.type === 'response.output_text.delta') text += event.delta;
  }
  assert.match(text, /high water/);
  assert.equal(last.type, 'response.completed');
});

test('models are listed', async () => {
  const names = [];
  for await (const model of client.models.list()) names.push(model.id);
  assert.ok(names.includes('lab-echo'));
});

test('audio goes up as a form', async () => {
  const sound = await toFile(Buffer.alloc(100_000, 'tide'), 'tide.wav', { type: 'audio/wav' });
  const reply = await client.audio.transcriptions.create({ model: 'lab-echo', file: sound });
  assert.ok(reply.text);
});

const ERRORS = [
  [400, OpenAI.BadRequestError],
  [401, OpenAI.AuthenticationError],
  [404, OpenAI.NotFoundError],
  [500, OpenAI.InternalServerError],
  [429, OpenAI.RateLimitError],
  [529, OpenAI.InternalServerError],
];
for (const [status, Exception] of ERRORS) {
  for (const stream of [false, true]) {
    test(`a provider's ${status} is a ${Exception.name}, ${stream ? 'streamed' : 'whole'}`, async () => {
      const request = forErrors.chat.completions.create({ model: `lab-error-${status}`, messages: says('fail'), stream });
      const error = await request.then(assert.fail, (caught) => caught);
      assert.ok(error instanceof Exception, String(error));
      assert.equal(error.status, status === 529 && !direct ? 503 : status);
      assert.ok(error.error.message);
    });
  }
}

test('a wrong key is an AuthenticationError', async () => {
  const nobody = new OpenAI({ baseURL: `${gateway}/v1`, apiKey: 'sk-nobody-0000', maxRetries: 0 });
  await assert.rejects(
    nobody.chat.completions.create({ model: 'lab-echo', messages: says('let me in') }),
    OpenAI.AuthenticationError,
  );
});

async function readAll(request) {
  for await (const chunk of await request) void chunk;
}

test('a stream that the provider cuts throws', async () => {
  await assert.rejects(readAll(client.chat.completions.create({ model: 'lab-cut', messages: says('cut'), stream: true })));
});

test('a reply that the provider cuts throws', async () => {
  await assert.rejects(client.chat.completions.create({ model: 'lab-cut', messages: says('cut') }));
});

test('a stream that stalls throws after between_tokens', { skip: direct }, async () => {
  await assert.rejects(readAll(client.chat.completions.create({ model: 'lab-stall', messages: says('and'), stream: true })));
});

test('a caller that aborts is seen by the provider at once', async (t) => {
  const took = [];
  for (let round = 0; round < 5; round += 1) {
    const stream = await client.chat.completions.create(
      { model: 'lab-tokens-1000', messages: says('go on'), stream: true },
      { headers: { 'x-lab-interval-ms': '20' } },
    );
    const chunks = stream[Symbol.asyncIterator]();
    await chunks.next();
    took.push(await millisecondsUntilCancelled(() => stream.controller.abort()));
  }
  t.diagnostic(`cancel seen upstream, ms: ${took.join(' ')}`);
  // The best of five: a busy machine delays some; where it takes a poll or a timeout to notice, all are late.
  assert.ok(Math.min(...took) < 100, `ms: ${took}`);
});
