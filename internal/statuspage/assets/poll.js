// SPDX-License-Identifier: Apache-2.0
//
// Asks the sidecar for its documents, again and again, as long as the page is visible.

const answerWithinMilliseconds = 5000;

// getJSON returns a document of the sidecar.
export async function getJSON(path) {
  const answer = await fetch(path, { signal: AbortSignal.timeout(answerWithinMilliseconds), cache: 'no-store' });
  if (!answer.ok) throw new Error(`${path}: ${answer.status} ${answer.statusText}`);
  return answer.json();
}

// Poller asks for one document. take gets each answer, fail each error. interval returns
// the milliseconds between an answer and the next question.
export class Poller {
  #timer = 0;
  #asking = false;
  #wanted = false;

  constructor({ path, interval, take, fail = () => {}, needed = () => true }) {
    Object.assign(this, { path, interval, take, fail, needed });
  }

  // start asks now, and then regularly.
  start() {
    this.#wanted = true;
    clearTimeout(this.#timer);
    if (!this.#asking) this.#ask();
  }

  // stop asks no more. An answer that is on its way is dropped.
  stop() {
    this.#wanted = false;
    clearTimeout(this.#timer);
  }

  async #ask() {
    if (this.needed()) {
      this.#asking = true;
      const result = await getJSON(this.path).then((answer) => () => this.take(answer), (error) => () => this.fail(error));
      this.#asking = false;
      try {
        if (this.#wanted) result();
      } catch (error) {
        reportError(error); // a fault of the page, which must not stop it
      }
    }
    if (this.#wanted) this.#timer = setTimeout(() => this.#ask(), this.interval());
  }
}
