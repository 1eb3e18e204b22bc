// SPDX-License-Identifier: Apache-2.0
//
// A CONNECT proxy over HTTP/2 without TLS, with Node.js' http2. It carries half-closes and
// resets in both directions. It prints its port.
'use strict';
const http2 = require('node:http2');
const net = require('node:net');

const { NGHTTP2_NO_ERROR, NGHTTP2_CONNECT_ERROR } = http2.constants;

const server = http2.createServer({ settings: { maxConcurrentStreams: 1000 } });
server.on('stream', (stream, headers) => {
  if (headers[':method'] !== 'CONNECT') {
    stream.respond({ ':status': 405 });
    stream.end('CONNECT only');
    return;
  }
  const target = new URL(`tcp://${headers[':authority']}`);
  const socket = net.connect({ port: target.port, host: target.hostname, allowHalfOpen: true });
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
      return;
    }
    stream.respond({ ':status': 502, 'proxy-status': `node; error=connection_refused; details="${error.code}"` });
    stream.end('refused');
  });
  stream.on('error', () => {}); // close follows
  stream.on('close', () => {
    if (stream.rstCode === NGHTTP2_NO_ERROR) {
      socket.end();
    } else if (!socket.destroyed) {
      socket.resetAndDestroy();
    }
  });
});
server.listen(0, '127.0.0.1', () => console.log(server.address().port));
process.stdin.resume().on('end', () => process.exit(0)); // the test has ended
