// SPDX-License-Identifier: Apache-2.0
//
// A CONNECT proxy over HTTP/2 (RFC 9113, section 8.5) with Node.js. It carries half-closes
// and resets, and says by Proxy-Status (RFC 9209) why it does not connect.
'use strict';
const fs = require('node:fs');
const http2 = require('node:http2');
const net = require('node:net');

const { NGHTTP2_NO_ERROR, NGHTTP2_CONNECT_ERROR } = http2.constants;
const listen = new URL('tcp://{{.Listen}}');

// errors has what Proxy-Status calls a failed connect.
const errors = { ECONNREFUSED: 'connection_refused', ETIMEDOUT: 'connection_timeout' };

function refuse(stream, status, error) {
  stream.respond({ ':status': status, 'proxy-status': `node; error=${error}` }, { endStream: true });
}

function connect(stream, headers) {
  const target = new URL(`tcp://${headers[':authority']}`);
  if (target.port === '{{.Forbidden}}') {
    refuse(stream, 403, 'http_request_denied');
    return;
  }
  const socket = net.connect({ port: target.port, host: target.hostname.replace(/[[\]]/g, ''), allowHalfOpen: true });
  let connected = false;
  socket.on('connect', () => {
    connected = true;
    stream.respond({ ':status': 200 });
    socket.pipe(stream);
    stream.pipe(socket);
  });
  socket.on('error', (error) => {
    if (connected) {
      stream.close(NGHTTP2_CONNECT_ERROR);
    } else if (!stream.destroyed) {
      refuse(stream, 502, errors[error.code] ?? 'destination_unavailable');
    }
  });
  stream.on('close', () => {
    if (connected && stream.rstCode === NGHTTP2_NO_ERROR) {
      socket.end();
    } else {
      socket.resetAndDestroy();
    }
  });
}

const server = http2.createSecureServer({
  ca: fs.readFileSync('{{.CA}}'),
  cert: fs.readFileSync('{{.Certificate}}'),
  key: fs.readFileSync('{{.Key}}'),
  requestCert: true,
  settings: { maxConcurrentStreams: 1000 },
});
server.on('stream', (stream, headers) => {
  stream.on('error', () => {}); // close follows
  if (headers[':method'] === 'CONNECT') {
    connect(stream, headers);
  } else {
    stream.respond({ ':status': 405 }, { endStream: true });
  }
});
server.listen(Number(listen.port), listen.hostname.replace(/[[\]]/g, ''));
