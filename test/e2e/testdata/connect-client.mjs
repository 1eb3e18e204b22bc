// SPDX-License-Identifier: Apache-2.0

// A client of an exit, on nothing but Node.js: HTTP/2 CONNECT (RFC 9113, 8.5) over TLS
// with a client certificate. Each argument after the first five is a request in JSON:
// {"to": "HOST:PORT", "send": "text", "upload": BYTES}. All requests share one connection
// and run at the same time. What is sent ends with END_STREAM. It prints one line of JSON
// for each request: the status, Proxy-Status, the number of bytes, the first of them, and
// the code of a reset.
import { readFileSync } from 'node:fs';
import { connect } from 'node:http2';

const [url, ca, cert, key, servername, ...requests] = process.argv.slice(2);
const session = connect(url, {
  ca: readFileSync(ca), cert: readFileSync(cert), key: readFileSync(key), servername,
});
session.on('error', (err) => {
  console.error(String(err));
  process.exit(1);
});

function ask({ to, send = '', upload = 0 }) {
  return new Promise((resolve) => {
    const got = { to, status: 0, proxyStatus: '', bytes: 0, text: '', reset: 0 };
    const stream = session.request({ ':method': 'CONNECT', ':authority': to });
    stream.on('response', (headers) => {
      got.status = headers[':status'];
      got.proxyStatus = headers['proxy-status'] ?? '';
    });
    stream.on('data', (chunk) => {
      got.bytes += chunk.length;
      if (got.text.length < 200) got.text += chunk.toString('latin1').slice(0, 200 - got.text.length);
    });
    stream.on('error', () => {}); // the code says more
    stream.on('close', () => {
      got.reset = stream.rstCode;
      resolve(got);
    });
    if (send !== '') stream.write(send);
    const chunk = Buffer.alloc(64 << 10, 'u');
    const more = () => {
      while (upload > 0) {
        const n = Math.min(upload, chunk.length);
        upload -= n;
        if (!stream.write(chunk.subarray(0, n))) {
          stream.once('drain', more);
          return;
        }
      }
      stream.end();
    };
    more();
  });
}

const answers = await Promise.all(requests.map((request) => ask(JSON.parse(request))));
for (const answer of answers) console.log(JSON.stringify(answer));
session.close();
