// The peer: the contract's hot paths as people write them for Node, with Fastify, ioredis, pg and a JWT plugin.
//
// TUNED=1 adds what an expert adds without changing the design: ioredis batches the commands of one turn of the
// loop (autopipelining), verified tokens are remembered, statements are prepared, and many keys are read by MGET.
//
// It does less than mitrad: no fallback when Valkey is away, no versions, no framing gate, no metrics, no sweeps.
import Fastify from 'fastify';
import jwt from '@fastify/jwt';
import Redis from 'ioredis';
import pg from 'pg';

const tuned = process.env.TUNED === '1';
const port = Number(process.env.PORT);
const STALE_AFTER_MS = 86400 * 1000;
const MAX_SESSIONS = 3;
const HEARTBEAT_INTERVAL_SECONDS = 30;
const SNAPSHOT_SECONDS = 10;

const app = Fastify({ logger: false, requestIdHeader: 'x-request-id' });
const redis = new Redis(process.env.VALKEY_URL, { enableAutoPipelining: tuned });
const pool = new pg.Pool({ connectionString: process.env.DATABASE_URL, max: 10, idleTimeoutMillis: 0 });

app.register(jwt, {
	secret: process.env.AUTH_JWT_SECRET,
	verify: { algorithms: ['HS256'], ...(tuned ? { cache: 100000 } : {}) },
});

app.addHook('onRequest', (request, reply, done) => {
	reply.header('x-request-id', request.id);
	done();
});

function problem(reply, status, code) {
	return reply.code(status).type('application/problem+json').send({ type: 'about:blank', status, code });
}

function requires(userType) {
	return async (request, reply) => {
		try {
			await request.jwtVerify();
		} catch {
			return problem(reply, 401, 'UNAUTHENTICATED');
		}
		if (request.user.user_type !== userType) {
			return problem(reply, 403, 'WRONG_USER_TYPE');
		}
	};
}

const asMitra = { onRequest: requires('mitra') };
const asOperator = { onRequest: requires('operator') };

// ---------------------------------------------------------------- heartbeat

app.post('/api/mitra/status/heartbeat', asMitra, async (request, reply) => {
	const id = request.user.sub;
	const [deactivated, stored] = await Promise.all([
		redis.sismember('mitras:deactivated', id),
		redis.set(`mitra:heartbeat:${id}`, new Date().toISOString(), 'XX'),
	]);
	if (deactivated) {
		return problem(reply, 403, 'ACCOUNT_INACTIVE');
	}
	if (stored === null) {
		const { rows } = await pool.query('SELECT is_online FROM mitra_online_status WHERE mitra_id = $1', [id]);
		return { online: rows.length > 0 && rows[0].is_online };
	}
	return { online: true };
});

// ---------------------------------------------------------------- who is available

// As people write it: a GET for each key, and the client is trusted to cope.
async function readEach(prefix, ids) {
	return Promise.all(ids.map((id) => redis.get(prefix + id)));
}

async function readMany(prefix, ids) {
	return ids.length ? redis.mget(ids.map((id) => prefix + id)) : [];
}

const read = tuned ? readMany : readEach;

async function availableMitras() {
	const ids = await redis.sdiff('mitras:online', 'mitras:deactivated');
	const [heartbeats, loads] = await Promise.all([
		read('mitra:heartbeat:', ids),
		read('mitra:capacity:', ids),
	]);
	const now = Date.now();
	return ids
		.map((id, i) => ({ id, sessions: Number(loads[i] ?? 0), last_heartbeat_at: heartbeats[i] }))
		.filter((mitra) => mitra.last_heartbeat_at !== null)
		.filter((mitra) => now - Date.parse(mitra.last_heartbeat_at) <= STALE_AFTER_MS)
		.filter((mitra) => mitra.sessions < MAX_SESSIONS)
		.sort((a, b) => a.sessions - b.sessions || (a.id < b.id ? -1 : 1));
}

app.get('/public/bestie-availability', async (request, reply) => {
	reply.type('application/json; charset=utf-8');
	const snapshot = await redis.get('availability:snapshot');
	if (snapshot !== null) {
		return snapshot;
	}
	const count = (await availableMitras()).length;
	const fresh = JSON.stringify({ available: count > 0, count });
	await redis.set('availability:snapshot', fresh, 'EX', SNAPSHOT_SECONDS);
	return fresh;
});

app.get('/internal/availability', asOperator, async (request) => {
	const mitras = await availableMitras();
	const limit = Number(request.query.limit ?? mitras.length);
	return { source: 'valkey', mitras: mitras.slice(0, limit) };
});

// ---------------------------------------------------------------- online and offline

const sql = {
	lock: 'SELECT is_active FROM mitras WHERE id = $1 FOR NO KEY UPDATE',
	session: 'SELECT revoked_at FROM auth_sessions WHERE id = $1',
	online: `INSERT INTO mitra_online_status AS s (mitra_id, is_online, online_since, last_heartbeat_at)
		VALUES ($1, true, now(), now())
		ON CONFLICT (mitra_id) DO UPDATE SET is_online = true, online_since = now(), last_heartbeat_at = now()
		WHERE NOT s.is_online`,
	offline: `UPDATE mitra_online_status SET is_online = false, online_since = NULL
		WHERE mitra_id = $1 AND is_online`,
	log: 'INSERT INTO mitra_online_logs (mitra_id, status, reason) VALUES ($1, $2, $3)',
	status: `SELECT s.is_online, s.online_since, s.last_heartbeat_at,
			(SELECT count(*)::int FROM chat_sessions c
			 WHERE c.mitra_id = s.mitra_id AND c.status IN ('active', 'pending_payment')) AS active_sessions
		FROM mitra_online_status s WHERE s.mitra_id = $1`,
};

function ask(client, name, values) {
	return client.query(tuned ? { name, text: sql[name], values } : { text: sql[name], values });
}

async function transition(claims, online) {
	const client = await pool.connect();
	try {
		await client.query('BEGIN');
		const mitra = (await ask(client, 'lock', [claims.sub])).rows[0];
		const session = (await ask(client, 'session', [claims.session_id])).rows[0];
		let refusal = null;
		if (!mitra || session?.revoked_at) {
			refusal = [401, 'UNAUTHENTICATED'];
		} else if (!mitra.is_active) {
			refusal = [403, 'ACCOUNT_INACTIVE'];
		}
		if (refusal) {
			await client.query('ROLLBACK');
			return { refusal };
		}
		const changed = (await ask(client, online ? 'online' : 'offline', [claims.sub])).rowCount > 0;
		if (changed) {
			await ask(client, 'log', [claims.sub, online ? 'online' : 'offline', 'manual']);
		}
		const status = (await ask(client, 'status', [claims.sub])).rows[0];
		await client.query('COMMIT');
		return { status };
	} catch (error) {
		await client.query('ROLLBACK');
		throw error;
	} finally {
		client.release();
	}
}

async function mirror(id, online, sessions) {
	if (online) {
		await Promise.all([
			redis.sadd('mitras:online', id),
			redis.set(`mitra:capacity:${id}`, sessions),
			redis.set(`mitra:heartbeat:${id}`, new Date().toISOString()),
			redis.del('availability:snapshot'),
		]);
		return;
	}
	await Promise.all([
		redis.srem('mitras:online', id),
		redis.del(`mitra:heartbeat:${id}`),
		redis.del('availability:snapshot'),
	]);
}

async function toggle(request, reply, online) {
	const { refusal, status } = await transition(request.user, online);
	if (refusal) {
		return problem(reply, ...refusal);
	}
	await mirror(request.user.sub, online, status?.active_sessions ?? 0);
	return {
		online: status?.is_online ?? false,
		online_since: status?.online_since ?? null,
		last_heartbeat_at: status?.last_heartbeat_at ?? null,
		active_sessions: status?.active_sessions ?? 0,
		max_sessions: MAX_SESSIONS,
		heartbeat_interval_seconds: HEARTBEAT_INTERVAL_SECONDS,
	};
}

app.post('/api/mitra/status/online', asMitra, (request, reply) => toggle(request, reply, true));
app.post('/api/mitra/status/offline', asMitra, (request, reply) => toggle(request, reply, false));

await app.listen({ port, host: '127.0.0.1' });
