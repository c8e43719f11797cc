// SPDX-License-Identifier: Apache-2.0

package caddymodule

import (
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/url"

	"github.com/spf13/cobra"
)

func secretsCommand() *cobra.Command {
	cmd := command("secrets [<source> <scheme> <name>]", "Lists the secrets that handshakes bring, or shows one", cobra.MaximumNArgs(3),
		func(s *shell, args []string) error {
			switch len(args) {
			case 0:
				return look(s, "/relay/secrets", printSecrets)
			case 3:
				path := "/relay/secrets/" + url.PathEscape(args[0]) + "/" + url.PathEscape(args[1]) + "/" + url.PathEscape(args[2])
				return look(s, path, printSecret)
			}
			return errors.New("say source, scheme and name of a secret, as caddy relay secrets lists them")
		})
	cmd.Long = `
Lists the secrets that relays expect from a handshake of the provider
(expect_secret), and when they have come.

With a source, a scheme and a name, as they are listed, it prints that secret
alone, which has to be typed at Notion to confirm a subscription. For that the
configuration must say admin_reveal.`
	cmd.Example = `  $ caddy relay secrets
  $ caddy relay secrets board notion default`
	return cmd
}

func printSecrets(w io.Writer, v *secretsView) {
	rows := make([][]string, 0, len(v.Secrets))
	for i := range v.Secrets {
		e := &v.Secrets[i]
		learned := "not yet"
		if e.Learned {
			learned = clock(e.LearnedAt)
		}
		rows = append(rows, []string{e.Source, e.Scheme, e.Name, learned})
	}
	table(w, "SOURCE|SCHEME|NAME|LEARNED", rows)
}

// printSecret prints nothing but the secret, so that it can be piped.
func printSecret(w io.Writer, v *secretView) {
	text := base64.StdEncoding.EncodeToString(v.SecretBase64)
	if v.Secret != nil {
		text = *v.Secret
	}
	_, _ = fmt.Fprintln(w, terminalText(text))
}
