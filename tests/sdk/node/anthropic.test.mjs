// The official Anthropic SDK for Node, unchanged but for its base URL.
import assert from 'node:assert/strict';
import { test } from 'node:test';

import Anthropic from '@anthropic-ai/sdk';

import { direct, failing, gateway, key, millisecondsUntilCancelled } from './stand.mjs';

const client = new Anthropic({ baseURL: gateway, apiKey: key, maxRetries: 0, timeout: 20_000 });
const forErrors = new Anthropic({ baseURL: failing, apiKey: key, maxRetries: 0, timeout: 20_000 });
const says = (content) => [{ role: 'user', content }];
const asking = (model, more = {}) => ({ model, max_tokens: 2000, messages: says('fair winds to you'), ...more });
const PIXEL =
  'iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==';
const WEATHER = {
  name: 'weather',
  input_schema: {
    type: 'object',
    properties: { place: { type: 'string' }, days: { type: 'integer' } },
    required: ['place'],
  },
};

test('a message answers and counts', async () => {
  const reply = await client.messages.create(asking('lab-echo'));
  assert.equal(reply.content[0].text, 'fair winds to you');
  assert.equal(reply.stop_reason, 'end_turn');
  assert.ok(reply.usage.input_tokens > 0 && reply.usage.output_tokens > 0);
});

test('a streamed message is the same text', async () => {
  const message = await client.messages.stream(asking('lab-echo')).finalMessage();
  assert.equal(message.content[0].text, 'fair winds to you');
  assert.equal(message.stop_reason, 'end_turn');
});

test('silence is bridged by pings that the SDK ignores', async () => {
  const stream = client.messages.stream(asking('lab-tokens-3'), { headers: { 'x-lab-interval-ms': '700' } });
  let pieces = 0;
  stream.on('text', () => {
    pieces += 1;
  });
  await stream.finalMessage();
  assert.equal(pieces, 3);
});

test('tools are called, whole and streamed', async () => {
  const request = asking('lab-tools', { tools: [WEATHER] });
  for (const reply of [await client.messages.create(request), await client.messages.stream(request).finalMessage()]) {
    const call = reply.content.find((block) => block.type === 'tool_use');
    assert.equal(reply.stop_reason, 'tool_use');
    assert.equal(call.name, 'weather');
    assert.deepEqual(Object.keys(call.input), ['place']);
  }
});

test('images go in', async () => {
  const image = { type: 'image', source: { type: 'base64', media_type: 'image/png', data: PIXEL } };
  const messages = [{ role: 'user', content: [image, { type: 'text', text: 'what is this' }] }];
  const reply = await client.messages.create(asking('lab-echo', { messages }));
  assert.match(reply.content[0].text, /what is this/);
});

test('thinking keeps its signature', async () => {
  const request = asking('lab-think', { thinking: { type: 'enabled', budget_tokens: 1024 } });
  const thought = (reply) => reply.content.find((block) => block.type === 'thinking');
  const whole = thought(await client.messages.create(request));
  const streamed = [];
  for (let round = 0; round < 2; round += 1) streamed.push(thought(await client.messages.stream(request).finalMessage()));
  assert.ok(whole.thinking && whole.signature && streamed[0].signature);
  assert.equal(streamed[0].signature, streamed[1].signature);
});

test('tokens are counted and models listed', async () => {
  const counted = await client.messages.countTokens({ model: 'lab-echo', messages: says('one two three') });
  assert.ok(counted.input_tokens > 0);
  const names = [];
  for await (const model of client.models.list()) names.push(model.id);
  assert.ok(names.includes('lab-echo'));
});

const ERRORS = [
  [400, Anthropic.BadRequestError],
  [401, Anthropic.AuthenticationError],
  [404, Anthropic.NotFoundError],
  [500, Anthropic.InternalServerError],
  [429, Anthropic.RateLimitError],
  [529, Anthropic.InternalServerError],
];
for (const [status, Exception] of ERRORS) {
  for (const stream of [false, true]) {
    test(`a provider's ${status} is a ${Exception.name}, ${stream ? 'streamed' : 'whole'}`, async () => {
      const request = forErrors.messages.create(asking(`lab-error-${status}`, { stream }));
      const error = await request.then(assert.fail, (caught) => caught);
      assert.ok(error instanceof Exception, String(error));
      assert.equal(error.status, status);
      assert.ok(error.error.error.message);
    });
  }
}

test('a wrong key is an AuthenticationError', async () => {
  const nobody = new Anthropic({ baseURL: gateway, apiKey: 'sk-nobody-0000', maxRetries: 0 });
  await assert.rejects(nobody.messages.create(asking('lab-echo')), Anthropic.AuthenticationError);
});

test('a stream that the provider cuts throws', async () => {
  await assert.rejects(client.messages.stream(asking('lab-cut')).finalMessage());
});

test('a reply that the provider cuts throws', async () => {
  await assert.rejects(client.messages.create(asking('lab-cut')));
});

test('a stream that stalls throws after between_tokens', { skip: direct }, async () => {
  await assert.rejects(client.messages.stream(asking('lab-stall')).finalMessage());
});

test('a caller that aborts is seen by the provider at once', async (t) => {
  const took = [];
  for (let round = 0; round < 5; round += 1) {
    const stream = await client.messages.create(
      asking('lab-tokens-1000', { stream: true }),
      { headers: { 'x-lab-interval-ms': '20' } },
    );
    const events = stream[Symbol.asyncIterator]();
    await events.next();
    took.push(await millisecondsUntilCancelled(() => stream.controller.abort()));
  }
  t.diagnostic(`cancel seen upstream, ms: ${took.join(' ')}`);
  // The best of five: a busy machine delays some; where it takes a poll or a timeout to notice, all are late.
  assert.ok(Math.min(...took) < 100, `ms: ${took}`);
});
