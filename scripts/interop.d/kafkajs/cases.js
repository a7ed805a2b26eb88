// kafkajs: the JavaScript client; it speaks only old, non-flexible versions. The lines it prints are explained in ../cases.py.

'use strict'

const { CompressionCodecs, CompressionTypes, ConfigResourceTypes, ConfigSource, Kafka, logLevel } = require('kafkajs')
const SnappyCodec = require('kafkajs-snappy')

CompressionCodecs[CompressionTypes.Snappy] = SnappyCodec

const CASE_TIMEOUT_MS = 60_000
const WAIT_MS = 20_000
const prefix = process.env.PREFIX || `interop-${process.pid}`
const kafka = new Kafka({
  clientId: 'kafkajs-interop',
  brokers: [process.env.BOOTSTRAP || '127.0.0.1:9092'],
  logLevel: logLevel.WARN,
  retry: { initialRetryTime: 100, retries: 10 },
  logCreator: () => ({ log }) => process.stderr.write(`${JSON.stringify(log)}\n`),
})
const admin = kafka.admin()
const cases = []

const named = part => `${prefix}-${part}`
const addCase = (title, run) => cases.push({ title, run })
const pause = ms => new Promise(resolve => setTimeout(resolve, ms))

function expect(got, wanted, what = 'answer') {
  const [left, right] = [JSON.stringify(got), JSON.stringify(wanted)]
  if (left !== right) throw new Error(`${what}: expected ${right}, got ${left}`)
}

async function until(what, check) {
  const deadline = Date.now() + WAIT_MS
  for (;;) {
    if (await check()) return
    if (Date.now() > deadline) throw new Error(`not within ${WAIT_MS} ms: ${what}`)
    await pause(50)
  }
}

async function refused(type, promise) {
  const error = await promise.then(() => null, error => error)
  if (!error) throw new Error(`expected ${type}, got no error`)
  const types = []
  for (let each = error; each; each = each.cause || each.originalError) {
    types.push(each.type, ...(each.errors || []).map(one => one.type), ...(each.partitions || []).map(one => one.error.type))
  }
  if (!types.includes(type)) throw new Error(`expected ${type}, got ${types} ${error.message}`)
}

async function create(topic, numPartitions = 1, configs = {}) {
  const configEntries = Object.entries(configs).map(([name, value]) => ({ name, value }))
  expect(await admin.createTopics({ topics: [{ topic, numPartitions, replicationFactor: 1, configEntries }] }), true, 'created')
}

async function produce(topic, messages, { settings = {}, ...record } = {}) {
  const producer = kafka.producer(settings)
  await producer.connect()
  try {
    return await producer.send({ topic, messages, ...record })
  } finally {
    await producer.disconnect()
  }
}

// Reads with a group of its own until `count` messages are there; keeps the consumer for the caller when `keep` is set.
async function consume(topic, count, { groupId = named(`reader-${topic}`), keep = false, settings = {}, run = {} } = {}) {
  const consumer = kafka.consumer({ groupId, heartbeatInterval: 300, maxWaitTimeInMs: 100, ...settings })
  const got = []
  await consumer.connect()
  await consumer.subscribe({ topic, fromBeginning: true })
  const reading = { consumer, got, assignment: [] }
  consumer.on(consumer.events.GROUP_JOIN, ({ payload }) => { reading.assignment = payload.memberAssignment[topic] || [] })
  await consumer.run({ eachMessage: async ({ partition, message }) => { got.push({ partition, ...message }) }, ...run })
  try {
    if (count) await until(`${count} messages (have ${got.length})`, () => got.length >= count)
  } finally {
    if (!keep) await consumer.disconnect()
  }
  return keep ? reading : got
}

const text = message => message.value.toString()

addCase('admin creates, lists and describes topics', async () => {
  const topic = named('created')
  await create(topic, 3)
  expect(await admin.createTopics({ topics: [{ topic }] }), false, 'created again')
  expect((await admin.listTopics()).includes(topic), true, 'listed')
  const { topics } = await admin.fetchTopicMetadata({ topics: [topic] })
  const seen = topics[0].partitions.map(part => [part.partitionId, part.leader, part.isr]).sort((a, b) => a[0] - b[0])
  expect(seen, [[0, 1, [1]], [1, 1, [1]], [2, 1, [1]]])
})

addCase('admin: bad names and settings are refused', async () => {
  await refused('INVALID_TOPIC_EXCEPTION', create('a b'))
  await refused('INVALID_CONFIG', create(named('bad'), 1, { 'retention.ms': 'soon' }))
  await refused('INVALID_REPLICATION_FACTOR', admin.createTopics({ topics: [{ topic: named('bad'), replicationFactor: 3 }] }))
})

addCase('admin: validateOnly creates nothing', async () => {
  await admin.createTopics({ validateOnly: true, waitForLeaders: false, topics: [{ topic: named('dry'), numPartitions: 1, replicationFactor: 1 }] })
  expect((await admin.listTopics()).includes(named('dry')), false, 'listed')
})

addCase('admin describes and alters configs', async () => {
  const topic = named('configs')
  await create(topic, 1, { 'retention.ms': '4321' })
  const resource = { type: ConfigResourceTypes.TOPIC, name: topic }
  const entry = async name => {
    const { resources } = await admin.describeConfigs({ includeSynonyms: false, resources: [{ ...resource, configNames: [name] }] })
    return resources[0].configEntries.map(each => [each.configName, each.configValue, each.configSource])
  }
  expect(await entry('retention.ms'), [['retention.ms', '4321', ConfigSource.TOPIC_CONFIG]])
  await admin.alterConfigs({ resources: [{ ...resource, configEntries: [{ name: 'max.message.bytes', value: '2000' }] }] })
  const altered = JSON.stringify([['max.message.bytes', '2000', ConfigSource.TOPIC_CONFIG]])
  await until('it is altered', async () => JSON.stringify(await entry('max.message.bytes')) === altered)
  await refused('MESSAGE_TOO_LARGE', produce(topic, [{ value: 'x'.repeat(5000) }]))
})

addCase('admin describes the cluster', async () => {
  const { brokers, controller, clusterId } = await admin.describeCluster()
  expect([brokers.map(each => each.nodeId), controller, clusterId.length], [[1], 1, 22])
})

addCase('admin adds partitions and deletes topics', async () => {
  const topic = named('grow')
  await create(topic)
  await admin.createPartitions({ topicPartitions: [{ topic, count: 4 }] })
  // A new partition may have no leader for a moment.
  await until('four partitions have offsets', async () => (await admin.fetchTopicOffsets(topic).catch(() => [])).length === 4)
  await admin.deleteTopics({ topics: [topic] })
  await until('it is no longer listed', async () => !(await admin.listTopics()).includes(topic))
})

for (const [codec, compression] of [['none', CompressionTypes.None], ['gzip', CompressionTypes.GZIP], ['snappy', CompressionTypes.Snappy]]) {
  addCase(`produce and consume, codec ${codec}`, async () => {
    const topic = named(`codec-${codec}`)
    const values = Array.from({ length: 1000 }, (_, number) => `${number} ${'j'.repeat(number % 200)}`)
    await create(topic)
    const answer = await produce(topic, values.map(value => ({ value, partition: 0 })), { compression })
    expect([answer[0].errorCode, answer[0].baseOffset], [0, '0'])
    expect((await consume(topic, 1000)).map(text), values)
  })
}

addCase('idempotent producer', async () => {
  const topic = named('idempotent')
  await create(topic)
  const producer = kafka.producer({ idempotent: true, maxInFlightRequests: 1 })
  await producer.connect()
  for (let batch = 0; batch < 20; batch++) {
    await producer.send({ topic, messages: Array.from({ length: 10 }, (_, number) => ({ value: String(batch * 10 + number) })) })
  }
  await producer.disconnect()
  expect((await consume(topic, 200)).map(text), Array.from({ length: 200 }, (_, number) => String(number)))
})

addCase('acks 0 and 1', async () => {
  const topic = named('acks')
  await create(topic)
  await produce(topic, [{ value: 'zero' }], { acks: 0 })
  await produce(topic, [{ value: 'one' }], { acks: 1 })
  expect((await consume(topic, 2)).map(text).sort(), ['one', 'zero'])
})

addCase('keys, headers, null values and timestamps survive', async () => {
  const topic = named('whole')
  await create(topic)
  await produce(topic, [
    { key: 'k', value: 'v', headers: { a: '1', twice: ['x', 'y'] }, timestamp: '1600000000123' },
    { key: 'gone', value: null, timestamp: '1600000000124' },
  ])
  const [first, second] = await consume(topic, 2)
  expect([first.key.toString(), text(first), first.timestamp], ['k', 'v', '1600000000123'])
  expect([first.headers.a.toString(), first.headers.twice.map(String)], ['1', ['x', 'y']], 'headers')
  expect([second.key.toString(), second.value], ['gone', null])
})

addCase('admin: topic offsets, by timestamp too, and deleteTopicRecords', async () => {
  const topic = named('offsets')
  await create(topic)
  await produce(topic, [1000, 2000, 3000].map(at => ({ value: 'v', timestamp: String(1600000000000 + at) })))
  expect(await admin.fetchTopicOffsets(topic), [{ partition: 0, offset: '3', high: '3', low: '0' }])
  expect(await admin.fetchTopicOffsetsByTimestamp(topic, 1600000001500), [{ partition: 0, offset: '1' }])
  expect(await admin.fetchTopicOffsetsByTimestamp(topic, 1600000003001), [{ partition: 0, offset: '3' }], 'after the last')
  await admin.deleteTopicRecords({ topic, partitions: [{ partition: 0, offset: '2' }] })
  expect(await admin.fetchTopicOffsets(topic), [{ partition: 0, offset: '3', high: '3', low: '2' }], 'after deleting')
  expect((await consume(topic, 1)).map(each => each.offset), ['2'])
  await refused('OFFSET_OUT_OF_RANGE', admin.deleteTopicRecords({ topic, partitions: [{ partition: 0, offset: '99' }] }))
})

addCase('a consumer group commits, stops and resumes', async () => {
  const [topic, groupId] = [named('resume'), named('resume')]
  await create(topic)
  await produce(topic, Array.from({ length: 10 }, (_, number) => ({ value: String(number) })))
  const { consumer, got } = await consume(topic, 10, { groupId, keep: true, run: { autoCommit: false } })
  await consumer.commitOffsets([{ topic, partition: 0, offset: '4', metadata: 'four' }])
  await consumer.disconnect()
  expect(got.length, 10, 'first run')
  expect((await consume(topic, 6, { groupId, run: { autoCommit: false } })).map(text), ['4', '5', '6', '7', '8', '9'], 'second run')
  expect(await admin.fetchOffsets({ groupId, topics: [topic] }),
    [{ topic, partitions: [{ partition: 0, offset: '4', metadata: 'four' }] }])
})

addCase('admin sets group offsets and deletes the group', async () => {
  const [topic, groupId] = [named('set'), named('set')]
  const committed = async () => (await admin.fetchOffsets({ groupId, topics: [topic] }))[0].partitions[0].offset
  await create(topic)
  await produce(topic, [{ value: '0' }, { value: '1' }])
  await admin.setOffsets({ groupId, topic, partitions: [{ partition: 0, offset: '1' }] })
  expect(await committed(), '1', 'set')
  await admin.deleteGroups([groupId])
  expect(await committed(), '-1', 'deleted')
})

addCase('two members: shared, then handed over; admin describes the group', async () => {
  const [topic, groupId] = [named('pair'), named('pair')]
  await create(topic, 4)
  const first = await consume(topic, 0, { groupId, keep: true })
  const second = await consume(topic, 0, { groupId, keep: true })
  await until('two partitions each', () => first.assignment.length === 2 && second.assignment.length === 2)
  expect([...first.assignment, ...second.assignment].sort(), [0, 1, 2, 3], 'together')
  const { groups } = await admin.describeGroups([groupId])
  expect([groups[0].state, groups[0].protocol, groups[0].members.length], ['Stable', 'RoundRobinAssigner', 2])
  expect((await admin.listGroups()).groups.find(each => each.groupId === groupId), { groupId, protocolType: 'consumer' })
  await second.consumer.disconnect()
  await until('all four to the one that stays', () => first.assignment.length === 4)
  await first.consumer.disconnect()
})

async function runCases() {
  const wanted = process.argv[2] || ''
  const chosen = cases.filter(each => each.title.includes(wanted))
  await admin.connect()
  for (const { title, run } of chosen) {
    const began = Date.now()
    process.stderr.write(`--- ${title}\n`)
    let timer
    const tooSlow = new Promise((_, reject) => {
      timer = setTimeout(() => reject(new Error(`did not end within ${CASE_TIMEOUT_MS} ms`)), CASE_TIMEOUT_MS)
    })
    try {
      await Promise.race([run(), tooSlow])
      console.log(`ok   ${title}`)
    } catch (error) {
      process.stderr.write(`${error.stack}\n`)
      console.log(`FAIL ${title}: ${String(error.message).replace(/\s+/g, ' ')}`)
    } finally {
      clearTimeout(timer)
      process.stderr.write(`--- ${(Date.now() - began) / 1000} s\n`)
    }
  }
  console.log(`done ${chosen.length}`)
}

runCases().then(() => process.exit(0), error => {
  process.stderr.write(`${error.stack}\n`)
  process.exit(1)
})
