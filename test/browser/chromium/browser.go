// SPDX-License-Identifier: Apache-2.0

package chromium

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"sync"
	"time"

	"github.com/shoot-proxy/proxy-client/test/lab"
)

// program is the name of Debian's package and of its command.
const program = "chromium"

// Available returns an error if Chromium is not installed.
func Available() error {
	if _, err := exec.LookPath(program); err != nil {
		return fmt.Errorf("%w; `test/setup browser` installs it", err)
	}
	return nil
}

// flags keep Chromium from anything but its page. Root, and a user without user
// namespaces, cannot have its sandbox; the page is our own.
var flags = []string{
	"--headless=new", "--log-level=3", "--remote-debugging-pipe", "--no-sandbox", "--no-first-run", "--no-default-browser-check",
	"--disable-background-networking", "--disable-component-update", "--disable-default-apps", "--disable-extensions",
	"--disable-sync", "--disable-breakpad", "--disable-dev-shm-usage", "--disable-gpu", "--metrics-recording-only",
	"--password-store=basic", "--use-mock-keychain", "--hide-scrollbars", "--mute-audio", "--font-render-hinting=none",
	"--disable-features=Translate,MediaRouter,OptimizationHints,DialMediaRouteProvider",
}

// Browser is a Chromium that runs.
type Browser struct {
	process *lab.Process
	toIt    *os.File
	fromIt  *os.File
	done    chan struct{} // closed when the pipe has ended

	mu      sync.Mutex // guards what follows
	last    int        // id of the last command
	waiting map[int]chan reply
	pages   map[string]*Page // by session
	ended   error
}

// message is what the pipe carries in both directions, each with a zero byte at its end.
type message struct {
	ID        int             `json:"id,omitempty"`
	SessionID string          `json:"sessionId,omitempty"`
	Method    string          `json:"method,omitempty"`
	Params    json.RawMessage `json:"params,omitempty"`
	Result    json.RawMessage `json:"result,omitempty"`
	Error     *struct {
		Message string `json:"message"`
	} `json:"error,omitempty"`
}

type reply struct {
	result json.RawMessage
	err    error
}

// Start starts Chromium in a namespace of a lab, with its profile in the folder dir. Its
// clock shows UTC.
func Start(ctx context.Context, in *lab.Namespace, dir string) (*Browser, error) {
	if err := Available(); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	itsInput, toIt, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	fromIt, itsOutput, err := os.Pipe()
	if err != nil {
		return nil, errors.Join(err, itsInput.Close(), toIt.Close())
	}
	// Chromium reads commands from the open file 3, and writes answers to 4.
	script := `exec "$0" "$@" 3<&0 4>&1 </dev/null >&2`
	args := append([]string{"-c", script, program, "--user-data-dir=" + dir}, flags...)
	process, err := in.Start(program, lab.Command{
		Path: "sh", Args: append(args, "about:blank"),
		Env:   []string{"TZ=UTC", "HOME=" + dir, "XDG_CONFIG_HOME=" + dir, "XDG_CACHE_HOME=" + dir, "TMPDIR=" + dir, "DBUS_SESSION_BUS_ADDRESS=disabled:"},
		Stdin: itsInput, Stdout: itsOutput,
	})
	err = errors.Join(err, itsInput.Close(), itsOutput.Close())
	if err != nil {
		return nil, errors.Join(err, toIt.Close(), fromIt.Close())
	}
	b := &Browser{
		process: process, toIt: toIt, fromIt: fromIt, done: make(chan struct{}),
		waiting: map[int]chan reply{}, pages: map[string]*Page{},
	}
	go b.read()
	if err := b.call(ctx, "", "Browser.getVersion", nil, nil); err != nil {
		return nil, errors.Join(fmt.Errorf("start Chromium: %w; its log:\n%s", err, process.Log()), b.Close())
	}
	return b, nil
}

// Close ends Chromium with all of its processes.
func (b *Browser) Close() error {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	_ = b.call(ctx, "", "Browser.close", nil, nil) // it may have crashed
	_, _ = b.process.Wait(ctx)
	b.process.Kill()
	err := b.toIt.Close()
	<-b.done // its processes have the other end, so all of them have ended
	return errors.Join(err, b.fromIt.Close())
}

// read takes what Chromium sends until its end.
func (b *Browser) read() {
	defer close(b.done)
	in := bufio.NewReaderSize(b.fromIt, 1<<20)
	for {
		text, err := in.ReadBytes(0)
		if err != nil {
			b.end(fmt.Errorf("the pipe of Chromium has ended: %w", err))
			return
		}
		var m message
		if err := json.Unmarshal(bytes.TrimSuffix(text, []byte{0}), &m); err != nil {
			b.end(fmt.Errorf("read an answer of Chromium: %w", err))
			return
		}
		b.dispatch(m)
	}
}

func (b *Browser) dispatch(m message) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if m.ID == 0 {
		if page := b.pages[m.SessionID]; page != nil {
			page.event(m.Method, m.Params)
		}
		return
	}
	if answer, ok := b.waiting[m.ID]; ok {
		delete(b.waiting, m.ID)
		r := reply{result: m.Result}
		if m.Error != nil {
			r.err = errors.New(m.Error.Message)
		}
		answer <- r
	}
}

// end fails all commands, now and later.
func (b *Browser) end(err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.ended = err
	for id, answer := range b.waiting {
		delete(b.waiting, id)
		answer <- reply{err: err}
	}
}

// call sends a command to a session, or to the browser itself, and waits for its result.
func (b *Browser) call(ctx context.Context, session, method string, params, result any) error {
	encoded, err := json.Marshal(params)
	if err != nil {
		return err
	}
	answer := make(chan reply, 1)
	if err := b.send(message{SessionID: session, Method: method, Params: encoded}, answer); err != nil {
		return fmt.Errorf("%s: %w", method, err)
	}
	select {
	case r := <-answer:
		if r.err != nil {
			return fmt.Errorf("%s: %w", method, r.err)
		}
		if result == nil {
			return nil
		}
		return json.Unmarshal(r.result, result)
	case <-ctx.Done():
		return fmt.Errorf("%s: no answer of Chromium: %w", method, ctx.Err())
	}
}

func (b *Browser) send(m message, answer chan reply) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.ended != nil {
		return b.ended
	}
	b.last++
	m.ID = b.last
	text, err := json.Marshal(m)
	if err != nil {
		return err
	}
	if err := b.toIt.SetWriteDeadline(time.Now().Add(10 * time.Second)); err != nil {
		return err
	}
	if _, err := b.toIt.Write(append(text, 0)); err != nil {
		return err
	}
	b.waiting[m.ID] = answer
	return nil
}
