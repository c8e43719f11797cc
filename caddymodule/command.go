// SPDX-License-Identifier: Apache-2.0

package caddymodule

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"

	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	"github.com/spf13/cobra"
)

// relayCommand is the caddy relay command.
var relayCommand = caddycmd.Command{
	Name:  "relay",
	Short: "Shows what the relay has accepted, and re-drives, replays, cancels, pauses",
	Long: `
Looks at the messages and deliveries of a running Caddy, and acts on them.

	message      one accepted webhook: msg_ and 26 letters and digits
	delivery     one message on its way to one destination: msg_.../1
	destination  where deliveries go: <source>:<name>, as in stripe:default
	job          what is done to many deliveries in the background: job_...

A look around:

	$ caddy relay stats
	$ caddy relay deliveries --state dead
	$ caddy relay show msg_01K0...

After an outage, once the app is well again:

	$ caddy relay redrive --destination stripe:default --dry-run
	$ caddy relay redrive --destination stripe:default

The commands talk to the admin endpoint of the running Caddy, by default
localhost:2019. If it listens elsewhere, say where with --address
(host:port or unix//run/caddy.sock), or have it read from the
configuration with --config.

They end with 0 when what was asked for was done, with 1 when it was
refused, and with 2 when Caddy or its store could not be reached.`,
	CobraFunc: func(cmd *cobra.Command) {
		cmd.Args = cobra.NoArgs // a command that does not exist is no success
		cmd.RunE = func(cmd *cobra.Command, _ []string) error { return cmd.Help() }
		flags := cmd.PersistentFlags()
		flags.String("address", "", "Address of the admin endpoint (if --config is not used)")
		flags.StringP("config", "c", "", "Configuration file that names the admin endpoint (if --address is not used)")
		flags.StringP("adapter", "a", "", "Name of config adapter to apply (if --config is used)")
		flags.Bool("json", false, "Print what the admin endpoint answers")
		cmd.AddCommand(
			statsCommand(), messagesCommand(), deliveriesCommand(), showCommand(),
			redriveCommand(), replayCommand(), cancelCommand(), deleteCommand(),
			pauseCommand(), resumeCommand(), jobsCommand(), secretsCommand(),
		)
	},
}

// The exit codes of the commands.
const (
	exitFailed      = 1
	exitUnreachable = 2
)

// action is what a command does, with what it needs for that.
type action func(s *shell, args []string) error

// shell is where a command runs.
type shell struct {
	cmd    *cobra.Command
	client *adminClient
	out    io.Writer
	json   bool
}

// command makes a command of the relay.
func command(use, short string, args cobra.PositionalArgs, do action) *cobra.Command {
	cmd := &cobra.Command{Use: use, Short: short}
	cmd.Args = func(cmd *cobra.Command, given []string) error {
		if err := args(cmd, given); err != nil {
			return fmt.Errorf("%w: write caddy relay %s", err, use)
		}
		return nil
	}
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		client, err := newAdminClient(cmd)
		if err == nil {
			asJSON, _ := cmd.Flags().GetBool("json")
			err = do(&shell{cmd: cmd, client: client, out: cmd.OutOrStdout(), json: asJSON}, args)
		}
		return exit(cmd, err)
	}
	return cmd
}

// exit prints an error, and has the process end with its code.
func exit(cmd *cobra.Command, err error) error {
	if err == nil {
		return nil
	}
	cmd.SilenceErrors = true
	fmt.Fprintln(os.Stderr, "Error: "+terminalText(err.Error()))
	code := exitFailed
	if errors.Is(err, errUnreachable) {
		code = exitUnreachable
	}
	failed := func(caddycmd.Flags) (int, error) { return code, nil }
	if ended := caddycmd.WrapCommandFuncForCobra(failed)(cmd, nil); ended != nil {
		return ended
	}
	return err
}

// look shows what the admin endpoint answers to a GET.
func look[V any](s *shell, path string, show func(io.Writer, *V)) error {
	answer, err := s.client.call(s.cmd.Context(), http.MethodGet, path, nil)
	if err != nil {
		return err
	}
	return print(s, answer, show)
}

// print shows an answer: as it is, or with the function that shows it to people.
func print[V any](s *shell, answer []byte, show func(io.Writer, *V)) error {
	if s.json {
		_, err := s.out.Write(answer)
		return err
	}
	var v V
	if err := decodeAnswer(answer, &v); err != nil {
		return err
	}
	show(s.out, &v)
	return nil
}
