// SPDX-License-Identifier: Apache-2.0

package bench

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"
)

// Job is one piece of work for one contender.
type Job struct {
	Client Client // how to connect
	Work   Work   // what to do
}

// Client is how a driver connects to a target for a contender.
type Client struct {
	Kind     Kind
	Frontend string `json:",omitempty"` // of the proxy-server, for clients that dial it themselves
	SOCKS5   string `json:",omitempty"` // address of the SOCKS5 sidecar
	TLS      Files
}

// Kind is a way to connect.
type Kind string

// The ways to connect.
const (
	Plain      Kind = "plain"    // an unmodified client: connect(2) to the target
	SingleUse  Kind = "stock"    // konnectivity-client's single-use tunnel, as kube-apiserver has it
	Reusable   Kind = "reusable" // konnectivity-client's CreateGRPCTunnel
	Connect    Kind = "connect"  // TLS and CONNECT for each connection
	SOCKS5Kind Kind = "socks5"
)

// Files are the PEM files of mutual TLS.
type Files struct{ CA, Cert, Key string }

// Work is what to do; which fields count depends on Do.
type Work struct {
	Do        string // one of the works of the driver
	Host      string // of the target
	Port      int    `json:",omitempty"` // of its service
	N         int    `json:",omitempty"` // connections, round trips or targets
	At        int    `json:",omitempty"` // how many at a time
	Bytes     int64  `json:",omitempty"` // of each connection, or of all if they share it
	KeepAlive bool   `json:",omitempty"`
}

// Figures are what a job measured, by name.
type Figures map[string]float64

// reply is what a driver answers to a job.
type reply struct {
	Figures Figures `json:",omitempty"`
	Error   string  `json:",omitempty"`
}

// jobTimeout bounds one job: far more than any takes.
const jobTimeout = 3 * time.Minute

// drive does jobs: one line of JSON from in each, and one to out.
func drive(in io.Reader, out io.Writer) error {
	d := &driver{}
	defer d.close()
	jobs, replies := json.NewDecoder(in), json.NewEncoder(out)
	for {
		var job Job
		if err := jobs.Decode(&job); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
		var r reply
		figures, err := d.do(job)
		if r.Figures = figures; err != nil {
			r.Error = err.Error()
		}
		if err := replies.Encode(r); err != nil {
			return err
		}
	}
}

// driver is the state between jobs.
type driver struct {
	dialers map[Client]dialFunc
	closers []func()
	held    []io.Closer // connections of the idle work
}

func (d *driver) do(job Job) (Figures, error) {
	ctx, cancel := context.WithTimeout(context.Background(), jobTimeout)
	defer cancel()
	dial, err := d.dialer(job.Client)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", job.Client.Kind, err)
	}
	work, ok := map[string]func(context.Context, dialFunc, Work) (Figures, error){
		workSetup: setup, workRoundTrips: roundTrips, workDownload: download, workUpload: upload, workScrape: scrape,
		workHold: d.hold, workLetGo: d.letGo,
	}[job.Work.Do]
	if !ok {
		return nil, fmt.Errorf("no such work: %q", job.Work.Do)
	}
	figures, err := work(ctx, dial, job.Work)
	if err != nil {
		return nil, fmt.Errorf("%s over %s: %w", job.Work.Do, job.Client.Kind, err)
	}
	return figures, nil
}

func (d *driver) close() {
	for _, c := range d.held {
		_ = c.Close()
	}
	for _, fn := range d.closers {
		fn()
	}
}
