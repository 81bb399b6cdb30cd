// A Kubernetes API server and its etcd in one process, for the tests of the Helm chart: no kubelet, no controllers.
//
//	kube-apiserver DIRECTORY FLAGS...
//
// etcd keeps its data in DIRECTORY and listens on a socket in it. FLAGS are those of the original kube-apiserver.
package main

import (
	"fmt"
	"net/url"
	"os"
	"path/filepath"

	"go.etcd.io/etcd/server/v3/embed"
	"k8s.io/component-base/cli"
	"k8s.io/kubernetes/cmd/kube-apiserver/app"
)

// startEtcd returns the address for clients, once etcd answers there.
func startEtcd(directory string) (string, error) {
	client := url.URL{Scheme: "unix", Path: filepath.Join(directory, "etcd-client")}
	peer := url.URL{Scheme: "unix", Path: filepath.Join(directory, "etcd-peer")}
	config := embed.NewConfig()
	config.Dir = filepath.Join(directory, "etcd")
	config.LogLevel = "error"
	// The data end with the test: nothing needs to survive a crash.
	config.UnsafeNoFsync = true
	config.ListenClientUrls, config.AdvertiseClientUrls = []url.URL{client}, []url.URL{client}
	config.ListenPeerUrls, config.AdvertisePeerUrls = []url.URL{peer}, []url.URL{peer}
	config.InitialCluster = config.InitialClusterFromName(config.Name)
	server, err := embed.StartEtcd(config)
	if err != nil {
		return "", err
	}
	select {
	case <-server.Server.ReadyNotify():
		return client.String(), nil
	case err := <-server.Err():
		return "", err
	}
}

func main() {
	if len(os.Args) < 2 {
		fmt.Fprintln(os.Stderr, "usage: kube-apiserver DIRECTORY FLAGS...")
		os.Exit(2)
	}
	etcd, err := startEtcd(os.Args[1])
	if err != nil {
		fmt.Fprintln(os.Stderr, "etcd:", err)
		os.Exit(1)
	}
	command := app.NewAPIServerCommand()
	command.SetArgs(append(os.Args[2:], "--etcd-servers="+etcd))
	os.Exit(cli.Run(command))
}
