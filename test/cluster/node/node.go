// SPDX-License-Identifier: Apache-2.0

package node

import (
	"context"
	_ "embed"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"

	"github.com/shoot-proxy/proxy-client/test/cluster/remover"
	"github.com/shoot-proxy/proxy-client/test/lab"
)

//go:embed node.sh
var script []byte

// Paths inside a node.
const (
	// Dir is the node's folder. Outside it is [Node.Dir].
	Dir = "/run/node"
	// Binaries are the folder of programs that the configuration names.
	Binaries = "/run/bin"
)

// Config describes the node to start.
type Config struct {
	// Name is the host name and the name of the Node object. It is also the name of the
	// node's folder.
	Name string
	// Parent is an existing folder, in which the node makes its own one.
	Parent string
	// Cgroup is the name of the node's folder below each cgroup controller. No other
	// node on this machine may have it.
	Cgroup string
	// Binaries is the folder with the programs: node/containerd, kube/kubelet and so on.
	Binaries string
	// Address is the node's address.
	Address netip.Addr
	// Pods and Services are the ranges of their addresses.
	Pods, Services netip.Prefix
	// Sandbox is the name of the image that holds a pod's namespaces.
	Sandbox string
	// FailureLogs is the folder that gets the logs of a start that fails, in a folder of
	// the node's name. If it is empty, the error has the logs' last lines.
	FailureLogs string
}

// Node is a node that runs.
type Node struct {
	Handle
	Config

	remover *remover.Remover
	tree    *tree
}

// Start starts a node, and returns once containerd answers. If it fails, nothing is left
// behind.
func Start(ctx context.Context, config Config) (*Node, error) {
	n := &Node{Config: config, Handle: Handle{Dir: filepath.Join(config.Parent, config.Name)}}
	var err error
	if n.remover, err = remover.Start(); err != nil {
		return nil, err
	}
	if err := n.start(ctx); err != nil {
		return nil, n.Abandon(fmt.Errorf("start node %s: %w", config.Name, err))
	}
	return n, nil
}

func (n *Node) start(ctx context.Context) error {
	if err := n.remover.Folder(n.Handle.Dir); err != nil {
		return err
	}
	for _, name := range []string{"", "run", "logs", "pids", "programs", "files"} {
		if err := os.Mkdir(filepath.Join(n.Handle.Dir, name), 0o755); err != nil {
			return err
		}
	}
	if err := makeCgroups(n.Cgroup, n.remover); err != nil {
		return err
	}
	if err := n.startTree(ctx); err != nil {
		return err
	}
	return n.startContainerd(ctx)
}

// startTree starts the script and waits until it reads the names of programs.
func (n *Node) startTree(ctx context.Context) error {
	path := filepath.Join(n.Handle.Dir, "node.sh")
	if err := os.WriteFile(path, script, 0o755); err != nil {
		return err
	}
	binaries, err := filepath.Abs(n.Config.Binaries)
	if err != nil {
		return err
	}
	n.tree, err = startTree(n.LogPath("node"), path, n.Handle.Dir, binaries, n.Name, n.Address.String(), n.Services.String())
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	return lab.Poll(ctx, "the node's first process to be ready", func(context.Context) error {
		if err := n.tree.ended(); err != nil {
			cancel(err)
			return err
		}
		if n.PID == 0 {
			if n.PID, err = n.tree.child(); err != nil {
				return err
			}
			if err := n.remover.Process(n.PID); err != nil {
				return err
			}
		}
		_, err := os.Stat(filepath.Join(n.Handle.Dir, "ready"))
		return err
	})
}

// Close ends every process of the node and removes everything that the node has left on
// the machine. The error names what is still there.
func (n *Node) Close() error {
	if n.tree != nil {
		n.tree.kill()
	}
	return n.remover.Remove()
}

// tree is the process outside the node. When it dies, the node ends.
type tree struct {
	cmd    *exec.Cmd
	exited chan struct{}
	err    error
}

func startTree(log, script string, args ...string) (*tree, error) {
	output, err := os.OpenFile(log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return nil, err
	}
	defer output.Close()
	args = append([]string{
		"--net", "--mount", "--pid", "--uts", "--ipc", "--fork", "--kill-child=KILL", "--mount-proc",
		"/bin/bash", script,
	}, args...)
	t := &tree{cmd: exec.Command("unshare", args...), exited: make(chan struct{})}
	t.cmd.Dir, t.cmd.Env = "/", environment()
	t.cmd.Stdout, t.cmd.Stderr = output, output
	t.cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Pdeathsig: syscall.SIGKILL}
	started := make(chan error)
	go func() {
		// Pdeathsig comes when the thread that started the process ends, not the program
		// (go.dev/issue/27505). This thread therefore stays until the process is gone.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := t.cmd.Start()
		started <- err
		if err == nil {
			t.err = t.cmd.Wait()
			close(t.exited)
		}
	}()
	if err := <-started; err != nil {
		return nil, fmt.Errorf("start unshare, of Debian's package util-linux, as root: %w", err)
	}
	return t, nil
}

// environment returns the environment of a node's programs.
func environment() []string {
	return []string{
		"PATH=" + Binaries + "/node:" + Binaries + "/kube:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
		"LANG=C", "HOME=/var",
	}
}

// child returns the id of the tree's process in the new PID namespace.
func (t *tree) child() (int, error) {
	pid := t.cmd.Process.Pid
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%[1]d/children", pid))
	if err != nil {
		return 0, err
	}
	return strconv.Atoi(strings.TrimSpace(string(text)))
}

func (t *tree) ended() error {
	select {
	case <-t.exited:
		return fmt.Errorf("the node's first process has ended: %v", t.err)
	default:
		return nil
	}
}

func (t *tree) kill() {
	_ = t.cmd.Process.Kill() // it may have ended
	<-t.exited
}
