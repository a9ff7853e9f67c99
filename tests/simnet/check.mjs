// Checks a recording of the simulated network with the reference implementation of the protocol (npm `@atproto/*`):
//
//   node check.mjs FILE
//
// FILE holds frames behind their lengths, not compressed; FILE.identities.json says what the network's servers know
// (simnet/examples/record.rs writes both). For every commit: the frame and its CAR are read by the packages, the hash of
// every block, the signature by the account's key, `since` and `prevData` against the commit before, and that undoing the
// operations on the partial tree of the CAR gives `prevData`. At the end: each repo's head, and, where the stream began
// with the repo, its live records.

import { readFileSync } from 'node:fs'
import { Frame } from '@atproto/xrpc-server'
import { MST, MemoryBlockstore, readCarWithRoot, verifyCommitSig } from '@atproto/repo'
import { decode } from '@ipld/dag-cbor'
import { CID } from 'multiformats/cid'
import { sha256 } from 'multiformats/hashes/sha2'

const path = process.argv[2]
const bytes = readFileSync(path)
const identities = JSON.parse(readFileSync(`${path}.identities.json`, 'utf8'))
const counts = {}
const count = (name, by = 1) => (counts[name] = (counts[name] ?? 0) + by)

function fail(where, what) {
  console.error(`${where}: ${what}`)
  process.exit(1)
}

function* frames() {
  let at = 0
  while (at < bytes.length) {
    const length = bytes.readUInt32BE(at)
    yield Frame.fromBytes(new Uint8Array(bytes.subarray(at + 4, at + 4 + length)))
    at += 4 + length
  }
}

async function checkHashes(where, blocks) {
  for (const { cid, bytes } of blocks.entries()) {
    const hash = await sha256.digest(bytes)
    if (!CID.createV1(0x71, hash).equals(cid)) fail(where, `block ${cid} has another hash`)
    count('blocks')
  }
}

/** The commit object of a CAR, checked: hashes, shape, signature. */
async function readCommit(where, did, rev, carBytes) {
  const { root, blocks } = await readCarWithRoot(carBytes)
  await checkHashes(where, blocks)
  const commit = decode(blocks.get(root))
  if (commit.version !== 3 || commit.did !== did || commit.rev !== rev || commit.prev !== null) {
    fail(where, `commit of ${commit.did} ${commit.rev} in a frame of ${did} ${rev}`)
  }
  if (!(await verifyCommitSig(commit, identities[did].key))) fail(where, 'signature is not valid')
  count('signatures')
  return { root, blocks, commit }
}

/** Undoes the operations; the tree before must come out. */
async function undo(where, body, blocks, data) {
  let tree = MST.load(new MemoryBlockstore(blocks), data)
  for (const { action, path, cid, prev } of [...body.ops].reverse()) {
    if (action === 'create') {
      const now = await tree.get(path)
      if (!now?.equals(cid)) fail(where, `${path} is not in the tree`)
      tree = await tree.delete(path)
    } else if (action === 'update') {
      tree = await tree.update(path, prev)
    } else {
      tree = await tree.add(path, prev)
    }
  }
  const before = await tree.getPointer()
  if (!before.equals(body.prevData)) fail(where, `undone it is ${before}, not ${body.prevData}`)
  count('proofs')
}

const repos = new Map()
let newest = 0
for (const frame of frames()) {
  const { body, type } = frame
  const where = `seq ${body.seq} ${type}`
  count(type)
  if (body.seq !== newest + 1) fail(where, `follows on ${newest}`)
  newest = body.seq
  const did = body.repo ?? body.did
  const repo = repos.get(did) ?? { records: new Map(), whole: false }
  repos.set(did, repo)
  if (type === '#account' && body.status === 'deleted') {
    repos.delete(did)
  } else if (type === '#sync') {
    const { root } = await readCommit(where, did, body.rev, body.blocks)
    if (repo.head && !repo.head.equals(root)) fail(where, `names ${root}, the newest is ${repo.head}`)
  } else if (type === '#commit') {
    const { root, blocks, commit } = await readCommit(where, did, body.rev, body.blocks)
    if (!root.equals(body.commit)) fail(where, 'the root is not the commit')
    if (repo.rev && body.since !== repo.rev) fail(where, `since ${body.since}, the newest is ${repo.rev}`)
    if (repo.data && !repo.data.equals(body.prevData)) fail(where, 'prevData is not the tree before')
    if (body.since === null) repo.whole = true
    for (const { action, path, cid } of body.ops) {
      if (action === 'delete') repo.records.delete(path)
      else {
        if (!blocks.has(cid)) fail(where, `no block of ${path}`)
        decode(blocks.get(cid))
        repo.records.set(path, cid.toString())
      }
      count(action)
    }
    if (body.prevData) await undo(where, body, blocks, commit.data)
    Object.assign(repo, { rev: body.rev, data: commit.data, head: root })
  }
}

for (const [did, repo] of repos) {
  const { head } = identities[did]
  if (repo.head && head.cid !== repo.head.toString()) fail(did, `head is ${head.cid}, the stream ends at ${repo.head}`)
  if (repo.head) count('heads')
  for (const [path, cid] of repo.records) {
    if (head.records[path] !== cid) fail(did, `${path} is ${head.records[path]}, the stream says ${cid}`)
    count('records')
  }
  if (repo.whole) {
    const more = Object.keys(head.records).length - repo.records.size
    if (more !== 0) fail(did, `has ${more} records of which the stream says nothing`)
    count('whole repos')
  }
}
if (!counts.proofs || !counts.signatures || !counts['whole repos']) fail(path, 'proves nothing')
console.log(JSON.stringify(counts))
