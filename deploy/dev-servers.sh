# The private PostgreSQL and Valkey of ./deploy/dev, which reads this file.  Both belong to one clone, listen where
# nobody else does, and keep their data between runs.

# shellcheck shell=sh
# shellcheck disable=SC2154 # top and dev are set by the reader

# PostgreSQL: a cluster on a Unix socket only.
#
# It refuses to run as root; root runs it as the user postgres, who must be able to get at the data.  Where the clone
# is closed to that user (below /root, say), or its path is too long for a socket or holds unusual characters, the
# cluster lies in /var/tmp, in a directory named for the clone.

find_postgres()
{
	cluster=$dev/postgresql
	if ! fits_cluster "$cluster"; then
		cluster=/var/tmp/mitrad-dev-$(id -u)-$(printf %s "$top" | cksum | cut -d ' ' -f 1)
	fi
	database_url="host=$cluster port=5432 user=mitrad dbname=mitrad"
	version=$(cat "$cluster/data/PG_VERSION" 2>/dev/null || newest_postgres)
	programs=/usr/lib/postgresql/$version/bin
	if [ ! -x "$programs/postgres" ]; then
		programs=$(dirname "$(readlink -f "$(command -v initdb || echo /nowhere/initdb)")")
	fi
	[ -x "$programs/postgres" ] || give_up "the data in $cluster needs PostgreSQL ${version:-(any version)}."
}

newest_postgres()
{
	# shellcheck disable=SC2012 # the names are numbers
	ls /usr/lib/postgresql 2>/dev/null | sort -n | tail -n 1
}

fits_cluster()
{
	case $1 in
	*[!A-Za-z0-9/._-]*) return 1 ;;
	esac
	[ ${#1} -le 80 ] && as_postgres test -x "$dev"
}

# as_postgres COMMAND…: as ourselves, or if that is root, as postgres; in a directory that everyone may be in.
as_postgres()
{
	if [ "$(id -u)" != 0 ]; then
		(cd / && exec "$@" 9>&-)
		return
	fi
	(cd / && exec setpriv --reuid postgres --regid postgres --init-groups "$@" 9>&-)
}

start_postgres()
{
	find_postgres
	if [ ! -d "$cluster/data" ]; then
		create_cluster
	fi
	if postgres_runs; then
		return
	fi
	stage "starting PostgreSQL"
	as_postgres "$programs/pg_ctl" start --silent --pgdata "$cluster/data" --log "$cluster/log" >/dev/null || {
		tail -n 20 "$cluster/log" >&2
		give_up "PostgreSQL did not start."
	}
	create_database
}

postgres_runs()
{
	[ -d "$cluster/data" ] && as_postgres "$programs/pg_ctl" status --pgdata "$cluster/data" >/dev/null
}

create_cluster()
{
	stage "creating a PostgreSQL cluster in $cluster"
	# Made under another name first: an interrupted initdb must not look like a cluster.
	rm -rf "$cluster"
	mkdir -m 700 "$cluster"
	if [ "$(id -u)" = 0 ]; then
		chown postgres "$cluster"
	fi
	as_postgres "$programs/initdb" --pgdata "$cluster/new" --username postgres --auth trust \
	    --encoding UTF8 --locale C.UTF-8 --no-instructions >/dev/null || give_up "initdb failed."
	# Who may reach the socket is said by the directory: its owner and root.
	cat >>"$cluster/new/postgresql.conf" <<-CONFIGURATION
		listen_addresses = ''
		unix_socket_directories = '$cluster'
		port = 5432
	CONFIGURATION
	mv "$cluster/new" "$cluster/data"
}

create_database()
{
	"$programs/psql" --no-psqlrc --quiet --set ON_ERROR_STOP=1 "host=$cluster port=5432 user=postgres dbname=postgres" <<-'SQL'
		SELECT 'CREATE ROLE mitrad LOGIN' WHERE NOT EXISTS
		    (SELECT FROM pg_roles WHERE rolname = 'mitrad') \gexec
		SELECT 'CREATE DATABASE mitrad OWNER mitrad' WHERE NOT EXISTS
		    (SELECT FROM pg_database WHERE datname = 'mitrad') \gexec
	SQL
}

# database_prompt PSQL-ARGUMENT…
database_prompt()
{
	"$programs/psql" --no-psqlrc --set ON_ERROR_STOP=1 "$@" "$database_url"
}

stop_postgres()
{
	if [ -n "${cluster:-}" ] && postgres_runs; then
		as_postgres "$programs/pg_ctl" stop --silent --mode fast --pgdata "$cluster/data" >/dev/null
	fi
}

# Valkey: on a loopback port that was free when it was chosen, and stays the same while it is.

choose_valkey_port()
{
	mkdir -p "$dev/valkey"
	remember_valkey_port
	if valkey_runs || { [ -n "$valkey_port" ] && port_is_free "127.0.0.1:$valkey_port"; }; then
		return
	fi
	# At random: another clone may be choosing at the same moment.
	until valkey_port=$(shuf -i 6400-7400 -n 1) && port_is_free "127.0.0.1:$valkey_port"; do
		:
	done
	echo "$valkey_port" >"$dev/valkey/port"
}

remember_valkey_port()
{
	valkey_port=$(cat "$dev/valkey/port" 2>/dev/null || :)
}

# The answer must be that of our own server, not of another that took the port.
valkey_runs()
{
	[ -n "$valkey_port" ] &&
	    [ "$(valkey-cli -p "$valkey_port" config get dir 2>/dev/null | tail -n 1)" = "$dev/valkey" ]
}

start_valkey()
{
	remember_valkey_port
	if valkey_runs; then
		return
	fi
	stage "starting Valkey"
	valkey-server --bind 127.0.0.1 --port "$valkey_port" --dir "$dev/valkey" --save 60 1 \
	    --daemonize yes --logfile "$dev/valkey/log" 9>&- >/dev/null
	tries=0
	until valkey_runs; do
		tries=$((tries + 1))
		if [ $tries -gt 100 ]; then
			tail -n 20 "$dev/valkey/log" >&2
			give_up "Valkey did not start."
		fi
		sleep 0.1
	done
}

stop_valkey()
{
	remember_valkey_port
	if valkey_runs; then
		valkey-cli -p "$valkey_port" shutdown >/dev/null 2>&1 || :
	fi
}
