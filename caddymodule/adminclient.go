// SPDX-License-Identifier: Apache-2.0

package caddymodule

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	"github.com/spf13/cobra"
)

// errUnreachable says that nobody could answer: no Caddy, or one whose store is
// not open.
var errUnreachable = errors.New("the relay can not be reached")

// callTime bounds one call to the admin endpoint, which bounds itself before.
const callTime = apiTime + 5*time.Second

// adminClient talks to the admin endpoint of a running Caddy.
type adminClient struct {
	address string
	origin  string
	http    *http.Client
}

// newAdminClient finds out where the admin endpoint is.
func newAdminClient(cmd *cobra.Command) (*adminClient, error) {
	flags := cmd.Flags()
	address, _ := flags.GetString("address")
	config, _ := flags.GetString("config")
	adapter, _ := flags.GetString("adapter")
	var loaded []byte
	if address == "" && config != "" {
		var err error
		if loaded, _, _, err = caddycmd.LoadConfig(config, adapter); err != nil {
			return nil, fmt.Errorf("reading %s: %w", config, err)
		}
		if err := adminIsOn(config, loaded); err != nil {
			return nil, err
		}
	}
	address, err := caddycmd.DetermineAdminAPIAddress(address, loaded, config, adapter)
	if err != nil {
		return nil, fmt.Errorf("finding the admin endpoint: %w", err)
	}
	return dialAdmin(address)
}

// adminIsOn looks whether the configuration of a file has an admin endpoint at
// all.
func adminIsOn(file string, config []byte) error {
	var admin struct {
		Admin struct {
			Disabled bool `json:"disabled"`
		} `json:"admin"`
	}
	if err := json.Unmarshal(config, &admin); err != nil {
		return fmt.Errorf("reading %s: %w", file, err)
	}
	if admin.Admin.Disabled {
		return fmt.Errorf("%s turns the admin endpoint off, which these commands need: give it a unix socket instead, as in admin unix//run/caddy/admin.sock", file)
	}
	return nil
}

// dialAdmin makes a client for an address as Caddy writes them.
func dialAdmin(address string) (*adminClient, error) {
	parsed, err := caddy.ParseNetworkAddress(address)
	if err != nil || parsed.PortRangeSize() > 1 {
		return nil, fmt.Errorf("'%s' is no address of an admin endpoint: write it as in localhost:2019 or unix//run/caddy.sock", address)
	}
	c := &adminClient{address: address, origin: "http://" + parsed.JoinHostPort(0)}
	target := parsed.JoinHostPort(0)
	if parsed.IsUnixNetwork() {
		// Permissions may stand behind the path, for the one who makes the socket.
		target, _, _ = strings.Cut(parsed.Host, "|")
		c.origin = "http://127.0.0.1"
	}
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, parsed.Network, target)
	}
	c.http = &http.Client{Timeout: callTime, Transport: &http.Transport{DialContext: dial, DisableKeepAlives: true}}
	return c, nil
}

// call asks the admin endpoint, and returns what it has answered.
func (c *adminClient) call(ctx context.Context, method, path string, body any) ([]byte, error) {
	var content io.Reader
	if body != nil {
		encoded, err := json.Marshal(body)
		if err != nil {
			return nil, fmt.Errorf("encoding the request: %w", err)
		}
		content = bytes.NewReader(encoded)
	}
	req, err := http.NewRequestWithContext(ctx, method, c.origin+path, content)
	if err != nil {
		return nil, fmt.Errorf("making the request: %w", err)
	}
	if c.origin != "http://127.0.0.1" {
		req.Header.Set("Origin", c.origin)
	}
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, c.explain(err)
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	if err != nil {
		return nil, c.explain(err)
	}
	return answer, c.refused(resp, answer)
}

// explain says what can be done where nobody answers.
func (c *adminClient) explain(err error) error {
	if broken, ok := errors.AsType[*url.Error](err); ok {
		err = broken.Err
	}
	return fmt.Errorf("no answer from the admin endpoint at %s (%w): is Caddy running, and is this its admin address? Say another with --address or --config: %w",
		c.address, err, errUnreachable)
}

// refused returns the error in an answer, nil for none.
func (c *adminClient) refused(resp *http.Response, answer []byte) error {
	if resp.StatusCode < http.StatusBadRequest {
		return nil
	}
	var said struct {
		Error string `json:"error"`
	}
	if json.Unmarshal(answer, &said) != nil || said.Error == "" {
		if resp.StatusCode == http.StatusNotFound {
			return fmt.Errorf("the Caddy at %s has no relay in it: it was built without the module, or is another one", c.address)
		}
		return fmt.Errorf("the admin endpoint at %s answered %s", c.address, resp.Status)
	}
	if resp.StatusCode == http.StatusServiceUnavailable {
		return fmt.Errorf("%s: %w", said.Error, errUnreachable)
	}
	return errors.New(said.Error)
}

// decodeAnswer reads an answer of the admin endpoint.
func decodeAnswer(answer []byte, into any) error {
	if err := json.Unmarshal(answer, into); err != nil {
		return fmt.Errorf("reading the answer: %w", err)
	}
	return nil
}
