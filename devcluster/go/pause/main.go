// Command pause is both small images of the dev cluster in one static binary: without arguments it
// holds a pod's namespaces, and `pause wait NAME` ends when NAME resolves, which is what a
// PyTorchJob's workers wait for.
package main

import (
	"fmt"
	"net"
	"os"
	"os/signal"
	"syscall"
	"time"
)

func main() {
	switch {
	case len(os.Args) == 1:
		hold()
	case len(os.Args) == 3 && os.Args[1] == "wait":
		waitFor(os.Args[2])
	default:
		fmt.Fprintln(os.Stderr, "usage: pause [wait NAME]")
		os.Exit(2)
	}
}

// hold sleeps until it is told to end and reaps orphans, since it may be process 1 of the pod.
func hold() {
	signals := make(chan os.Signal, 16)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM, syscall.SIGCHLD)
	for received := range signals {
		if received != syscall.SIGCHLD {
			return
		}
		for {
			if pid, err := syscall.Wait4(-1, nil, syscall.WNOHANG, nil); pid <= 0 || err != nil {
				break
			}
		}
	}
}

// waitFor has no end of its own: the job's deadline decides how long a master may be missing.
func waitFor(name string) {
	for {
		if addresses, err := net.LookupHost(name); err == nil && len(addresses) > 0 {
			return
		}
		time.Sleep(500 * time.Millisecond)
	}
}
