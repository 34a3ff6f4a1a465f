# What ./deploy/dev, which reads this file, prints when the server is ready: requests to paste into another terminal.

# shellcheck shell=sh
# shellcheck disable=SC2154 # set by the reader

# token USER_TYPE ID [OPTION…]: an access token that lasts for a day.
token()
{
	"$mitrad" token "$@" --ttl 86400 --config "$dev/mitrad.conf"
}

banner()
{
	api=$(address "$public")
	cc=$(address "$internal")
	demo_mitra=00000000-0000-4000-8000-0000000000a1
	mitra=$(token mitra $demo_mitra)
	customer=$(token customer 00000000-0000-4000-8000-0000000000c1)
	operator=$(token admin 00000000-0000-4000-8000-0000000000d1)
	# A path with a blank in it is quoted.
	case $top in
	*[!A-Za-z0-9/._-]*) command="'$top/deploy/dev'" ;;
	*) command=$top/deploy/dev ;;
	esac
	password=$(sed -n 's/^ADMIN_PASSWORD=//p' "$dev/secrets")
	cat <<BANNER

mitrad serves apps on $api and operators on $cc
(first operator: admin@example.com, password $password)

Try it in another terminal.  First the tokens of a demo mitra, a customer and an operator, good for a day:

mitra='Authorization: Bearer $mitra'
customer='Authorization: Bearer $customer'
operator='Authorization: Bearer $operator'

# the mitra goes online, beats, and customers see the beacon turn on
curl -s -X POST -H "\$mitra" $api/api/mitra/status/online; echo
curl -s -X POST -H "\$mitra" $api/api/mitra/status/heartbeat; echo
curl -s $api/public/bestie-availability; echo
curl -s -H "\$mitra" $api/api/mitra/status; echo

# what operators see
curl -s -H "\$operator" $cc/internal/dashboard; echo
curl -s -H "\$operator" $cc/internal/availability; echo
curl -s -H "\$operator" $cc/internal/mitras/$demo_mitra/reachability; echo

# the first operator signs in with his password, and stays so by a cookie (Secure: from here only because this is localhost)
curl -s -c "$dev/cookies" -X POST -H 'Content-Type: application/json' -d '{"email":"admin@example.com","password":"$password"}' $cc/internal/auth/login; echo
curl -s -b "$dev/cookies" -c "$dev/cookies" -X POST $cc/internal/auth/refresh; echo

# a customer starts without a name; another signs in by phone: the code is in the log of this server, for /api/client/auth/otp/verify
curl -s -X POST $api/api/shared/auth/anonymous; echo
curl -s -X POST -H 'Content-Type: application/json' -d '{"phone":"0812 3456 7890"}' $api/api/client/auth/otp/request; echo

# Valkey goes away: the same answers, from PostgreSQL; and comes back
$command valkey stop
curl -s -X POST -H "\$mitra" $api/api/mitra/status/heartbeat; echo
curl -s $api/public/bestie-availability; echo
curl -s -H "\$operator" $cc/internal/dashboard; echo
$command valkey start

# the mitra is deactivated: its next heartbeat is refused; then activated again
curl -s -X PATCH -H "\$operator" -H 'Content-Type: application/json' -d '{"is_active":false}' $cc/internal/mitras/$demo_mitra; echo
curl -s -X POST -H "\$mitra" $api/api/mitra/status/heartbeat; echo
curl -s -X PATCH -H "\$operator" -H 'Content-Type: application/json' -d '{"is_active":true}' $cc/internal/mitras/$demo_mitra; echo

# another mitra, a look into the database, health
curl -s -X POST -H 'Content-Type: application/json' -d '{"phone":"+6281200000009","display_name":"Demo mitra 9"}' $cc/internal/_test/seed-mitra; echo
$command psql -c 'table mitra_online_logs'
curl -s $cc/readyz; echo

Settings: .dev/mitrad.conf.  Ctrl-C stops everything.

BANNER
}
