// SPDX-License-Identifier: Apache-2.0

// A CONNECT server on nothing but Node.js: HTTP/2 over TLS, with client certificates. It
// prints "ready" when it listens, and a line for each connection that it has made.
import { readFileSync } from 'node:fs';
import { constants, createSecureServer } from 'node:http2';
import { connect } from 'node:net';

const [host, port, ca, cert, key] = process.argv.slice(2);
const server = createSecureServer({
  ca: readFileSync(ca), cert: readFileSync(cert), key: readFileSync(key),
  requestCert: true, rejectUnauthorized: true, minVersion: 'TLSv1.3',
});

function tunnel(stream, authority) {
  const to = new URL(`tcp://${authority}`);
  const socket = connect({ host: to.hostname.replace(/^\[|\]$/g, ''), port: Number(to.port), allowHalfOpen: true });
  let connected = false;
  socket.on('connect', () => {
    connected = true;
    console.log(`connected ${authority}`);
    if (stream.destroyed) return socket.destroy();
    stream.respond({ ':status': 200 });
    socket.pipe(stream);
    stream.pipe(socket);
  });
  socket.on('error', (err) => {
    if (connected) return stream.close(constants.NGHTTP2_CONNECT_ERROR);
    const why = err.code === 'ECONNREFUSED' ? 'connection_refused' : 'destination_unavailable';
    stream.respond({ ':status': 502, 'proxy-status': `node; error=${why}` }, { endStream: true });
  });
  stream.on('error', () => socket.resetAndDestroy());
  stream.on('aborted', () => socket.resetAndDestroy());
}

server.on('stream', (stream, headers) => {
  if (headers[':method'] === 'CONNECT') return tunnel(stream, headers[':authority']);
  stream.respond({ ':status': 405 }, { endStream: true });
});
server.on('sessionError', (err) => console.error(String(err)));
server.listen(Number(port), host, () => console.log('ready'));
