# README's chapter "Operations" does what it says: its blocks of commands, as they stand and in their
# order, by an administrator of three servers, with what happens to those between the blocks.  (A tenant
# is moved by 750_move_tenant.)
#
# A block is marked <!-- operations: NAME, on HOST -->; what is SQL goes to psql, in database app.  The hosts are main, new (where a dump is restored)
# and standby.  On each the folders that the chapter names are folders of ours, sudo runs what it is given,
# and systemctl starts and stops the host's server.
use strict;
use warnings FATAL => 'all';
use FindBin;
use lib "$FindBin::RealBin/../perl";
use File::Copy;
use File::Path qw(make_path);
use PgEnvelope::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $readme = slurp_file("$FindBin::RealBin/../../README.md");
my ($chapter) = $readme =~ /^## Operations\n(.*?)^## /ms;
my $shared = PostgreSQL::Test::Utils::tempdir();
my (%host, %done, $main);

# Before and after some blocks; all others are only run, and have to end well.
my %before = (
	'restore' => sub { start_new() },
	'lose the agent' => sub { lose_agent() },
	'lose the keyring' => sub { lose_keyring() },
	'the keyring of a standby' => sub { start_standby(); bring_copies('standby') },
	'fail over' => sub { new_kek_on_standby(); $main->stop('immediate') },
	'seal a column' => sub { people() },
	'uninstall' => sub { about_to_uninstall() },
);
my %after = (
	'check a copy of the keyring' => sub { like($_[0], qr/^ok$/m, 'the copy has all') },
	'try the keys' => sub { like($_[0], qr/^ +2 \| +2$/m, 'all data keys could be unwrapped'); opens('new'); one_uuid() },
	'lose the agent' => sub { like($_[0], qr/agent_state +\| ready/, 'it is shown at work'); opens('main') },
	'lose the keyring' => sub { opens_in_the_end('main'); lose_keyring_in_a_panic() },
	'the keyring of a standby' => sub { opens_in_the_end('standby') },
	'retire a KEK' => sub { retired($_[0]) },
	'upgrade the extension' => sub { like($_[0], qr/^ (\S+) +\| \1$/m, 'objects and library are of one version'); opens('main') },
	'fail over' => sub { failed_over() },
	'seal a column' => sub { sealed($_[0]) },
	'uninstall the library' => sub { uninstalled() },
);

# (While autovacuum analyzes, VACUUM FULL keeps the rows that it still sees: old values, when a column is sealed.)
$main = host('main', PgEnvelope::Cluster->new('main', extension => 0, allows_streaming => 1, autovacuum => 'off'));
$main->safe_psql('postgres', $_) for 'CREATE ROLE app_owner LOGIN', 'CREATE DATABASE app OWNER app_owner';
$main->create_extension('app');
$main->safe_psql('app', q{SET client_min_messages = error;
	SELECT envelope_create_kek('main'); SELECT envelope_create_key('acme', 'main'), envelope_create_key('globex', 'main');
	CREATE TABLE customers AS SELECT k AS key_id, envelope_encrypt('078-05-1120', k) AS ssn FROM unnest(ARRAY['acme', 'globex']) k;
	ALTER TABLE customers OWNER TO app_owner});
make_path("$shared/main/srv/backup", "$shared/main/srv/keys", { mode => 0700 });

while ($chapter =~ /^<!-- operations: ([^,\n]+), on (\w+) -->\n```(sh|sql)\n(.*?)^```$/msg)
{
	my ($name, $on, $language, $commands) = ($1, $2, $3, $4);
	$commands = "psql -X -v ON_ERROR_STOP=1 -d app <<'SQL'\n${commands}SQL\n" if $language eq 'sql';
	$before{$name}->() if $before{$name};
	my $said = run_block($name, $on, $commands);
	$after{$name}->($said) if $after{$name};
	$done{$name} = 1;
}
my %known = (%before, %after);
ok($done{$_}, "the chapter has \"$_\"") for 'back up', sort keys %known;
my @tasks = ('Back up', 'Restore', 'Move a tenant to another cluster', 'Lose the agent', 'Lose the keyring', 'Fail over', 'Retire a KEK', 'Upgrade the extension', 'Uninstall');
my %headings = map { ($_ => 1) } $chapter =~ /^### (.*)$/mg;
is_deeply([ grep { $headings{$_} } @tasks ], \@tasks, 'the chapter tells how to do all that');
for my $heading (@tasks)
{
	my ($section) = $chapter =~ /^### \Q$heading\E\n(.*?)(?=^### |\z)/ms;
	like($section // '', qr/^<!-- .* -->\n```s/m, "$heading: by commands");
}
unlike($chapter, qr/(?<! -->\n)^```sh$/m, 'every block of commands is marked');
is(() = $chapter =~ /^<!-- operations: /mg, scalar(keys %done), 'and was run');
$_->{node}->stop for values %host;
done_testing();

#
# The hosts
#

sub host
{
	my ($name, $node) = @_;
	my $bin = "$shared/$name/bin";
	make_path($bin, "$shared/$name/srv", "$shared/$name/conf.d");
	my $conf = slurp_file($node->data_dir . '/postgresql.conf');
	if ($conf =~ s/^(shared_preload_libraries = .*\n)//m)
	{
		# as README's "Install" has it
		append_to_file("$shared/$name/conf.d/pg_envelope.conf", $1);
		PgEnvelope::Cluster::replace_file($node->data_dir . '/postgresql.conf', $conf . "include_dir = '$shared/$name/conf.d'\n");
	}
	script("$bin/sudo", q{[ "$1" != -u ] || shift 2; exec "$@"});
	# Two copies of a keyring within a second, as only a test makes them, would have one name.
	script("$bin/date", q{PATH=/usr/bin:/bin; exec date "$@.%N"});
	script("$bin/systemctl", qq{[ "\$2" = postgresql\@15-main ] || exit 5; exec '$ENV{PGE_BINDIR}/pg_ctl' -D '@{[ $node->data_dir ]}' -w -l '@{[ $node->logfile ]}' "\$1"});
	$host{$name} = { node => $node, bin => $bin, places => {
		'/var/lib/postgresql/15/main.pg_envelope/keyring' => $node->keyring_file,
		'/var/lib/postgresql/15/main' => $node->data_dir,
		'/etc/postgresql/15/main/conf.d' => "$shared/$name/conf.d",
		'/srv' => "$shared/$name/srv" } };
	return $node;
}

sub script
{
	my ($file, $text) = @_;
	append_to_file($file, "#!/bin/sh\n$text\n");
	chmod 0755, $file or die $!;
	return;
}

sub run_block
{
	my ($name, $on, $commands) = @_;
	my ($out, $err) = in_shell($on, $commands);
	ok($? == 0, "on $on: $name") or diag("$commands\n$out\n$err");
	unlike($err, qr/(ERROR|FATAL|PANIC): (?! *role "\w+" already exists)/, 'without an error');
	return $out;
}

sub in_shell
{
	my ($on, $commands) = @_;
	my $host = $host{$on} or BAIL_OUT("there is no host $on");
	my %places = %{ $host->{places} };
	my $from = join '|', map { quotemeta } sort { length $b <=> length $a } keys %places;
	$commands =~ s/($from)(?![\w.])/$places{$1}/g;
	local @ENV{qw(PATH PGHOST PGPORT PGDATABASE)} = ("$host->{bin}:$ENV{PGE_BINDIR}:$ENV{PATH}", $host->{node}->host, $host->{node}->port, 'postgres');
	return run_command([ 'sh', '-ec', $commands ]);
}

# Another time, all of it or the lines that match.
sub run_again
{
	my ($name, $on, $lines) = @_;
	my $block = block($name, $on);
	run_block("$name, once more", $on, $lines ? join('', $block =~ /($lines)/g) : $block);
	return;
}

sub block
{
	my ($name, $on) = @_;
	my ($block) = $chapter =~ /^<!-- operations: \Q$name\E, on $on -->\n```sh\n(.*?)^```$/ms or BAIL_OUT($name);
	return $block;
}

#
# What happens to them
#

sub value_sql { return q{SELECT string_agg(envelope_decrypt(ssn, key_id), ' ') FROM customers} }

sub opens
{
	my ($on) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	is($host{$on}{node}->safe_psql('app', value_sql()), '078-05-1120 078-05-1120', "on $on every value opens");
	return;
}

sub opens_in_the_end
{
	my ($on) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	ok($host{$on}{node}->poll_query_until('app', value_sql(), '078-05-1120 078-05-1120'), "on $on every value opens");
	return;
}

# The administrator carries the newest of everything there.
sub bring_copies
{
	my ($on) = @_;
	my $from = "$shared/main/srv";
	my $to = "$host{$on}{places}{'/srv'}/restore";
	make_path($to, { mode => 0700 });
	my ($newest) = reverse sort glob "$from/keys/keyring.*";
	my %copy = ("$from/backup/globals.sql" => 'globals.sql', "$from/backup/app.dump" => 'app.dump', $newest => 'keyring');
	for my $file (keys %copy)
	{
		unlink "$to/$copy{$file}";
		copy($file, "$to/$copy{$file}") or die "$file: $!";
		chmod 0600, "$to/$copy{$file}" or die $!;
	}
	return;
}

sub start_new
{
	host('new', PgEnvelope::Cluster->new('new', extension => 0, plain_keyring => 1));
	bring_copies('new');
	return;
}

sub one_uuid
{
	my $uuid = 'SELECT uuid FROM envelope.keyring';
	is($host{new}{node}->safe_psql('app', $uuid), $main->safe_psql('app', $uuid), 'under the uuid that was dumped');
	return;
}

sub lose_agent
{
	opens('main');
	$main->stop_agent_process;
	opens('main');
	$main->continue_agent_process;
	my $pid = $main->kill_agent;
	$main->wait_for_agent($pid);
	ok($main->poll_query_until('app', q{SELECT value = 'ready' FROM envelope_status() WHERE name = 'agent_state'}), 'the keeper has started another agent');
	return;
}

sub lose_keyring
{
	unlink $main->keyring_file or die $!;
	my $pid = $main->kill_agent;
	$main->wait_for_agent($pid);
	$main->safe_psql('app', 'SELECT envelope_cache_flush()');
	$main->fails_with(value_sql(), 'KE007', 'without the keyring nothing opens', dbname => 'app');
	bring_copies('main');
	return;
}

# Who does not look for the copy first, but makes a new keyring and goes on with that, loses nothing
# when the copy turns up.
sub lose_keyring_in_a_panic
{
	unlink $main->keyring_file or die $!;
	$main->wait_for_agent($main->kill_agent);
	$main->fails_with(q{SELECT envelope_create_kek('new')}, 'KE007', 'a new keyring is not made by itself', dbname => 'app');
	my $agent = "'$ENV{PGE_BINDIR}/pg_envelope_agent' keyring";
	my $file = '/var/lib/postgresql/15/main.pg_envelope/keyring';
	run_block('a new keyring', 'main', "$agent create --keyring $file");
	$main->poll_query_until('app', q{SET client_min_messages = error; SELECT envelope_create_kek('new') LIKE 'local:%'}, "SET\nt") or die 'no new KEK';
	$main->safe_psql('app', q{SELECT envelope_create_key('new', 'new'); CREATE TABLE new AS SELECT envelope_encrypt('new', 'new') AS sealed});
	my ($out, $err) = run_command([ $main->agent_command, qw(keyring restore --keyring), $main->keyring_file, "$host{main}{places}{'/srv'}/restore/keyring" ]);
	isnt($?, 0, 'over that the copy is not restored');
	like($err, qr/1 versions of KEKs that the backup lacks; .* "import" adds those of the backup and keeps these/, 'and what to do is said');
	run_block('keyring import', 'main', "$agent import --keyring $file /srv/restore/keyring");
	opens_in_the_end('main');
	is($main->safe_psql('app', q{SELECT envelope_cache_flush(); SELECT envelope_decrypt(sealed, 'new') FROM new}) =~ s/.*\n//r, 'new', 'and what was made meanwhile');
	# (No copy that the next blocks carry has it.)
	$main->safe_psql('app', q{DROP TABLE new; SELECT envelope_disable_key('new'); SELECT envelope_destroy_key('new')});
	return;
}

sub start_standby
{
	$main->backup('base');
	my $standby = PostgreSQL::Test::Cluster::new('PgEnvelope::Cluster', 'standby', PgEnvelope::Cluster::install_path(0));
	$standby->init_from_backup($main, 'base', has_streaming => 1);
	$standby->make_keyring(1);
	host('standby', $standby);
	$standby->append_conf('postgresql.conf', "pg_envelope.keyring_file = '@{[ $standby->keyring_file ]}'\n");
	$standby->start;
	$main->wait_for_catchup($standby);
	$standby->fails_with(value_sql(), 'KE007', 'without its keyring a standby opens nothing', dbname => 'app');
	return;
}

# What the copy of the keyring lacks does not open there, until a newer one is brought.
sub new_kek_on_standby
{
	my $standby = $host{standby}{node};
	my $open = q{SELECT envelope_decrypt(sealed, 'late') FROM late};
	$main->safe_psql('app', q{SET client_min_messages = error; SELECT envelope_create_kek('late'); SELECT envelope_create_key('late', 'late');
		CREATE TABLE late AS SELECT envelope_encrypt('late', 'late') AS sealed});
	$main->wait_for_catchup($standby);
	$standby->fails_with($open, 'KE012', 'what its keyring lacks a standby does not open', dbname => 'app');
	my $uri = $main->safe_psql('app', q{SELECT uri FROM envelope.kek WHERE name = 'late'});
	my (undef, $missing) = in_shell('main', block('check a copy of the keyring', 'main'));
	isnt($?, 0, 'a copy from before does not pass');
	like($missing, qr/\Q$uri\E/, 'and the KEK that it lacks is named');
	run_again('a new KEK', 'main', qr/^.* keyring backup .*\n/m);
	run_again('check a copy of the keyring', 'main');
	bring_copies('standby');
	run_again('the keyring of a standby', 'standby');
	ok($standby->poll_query_until('app', $open, 'late'), 'and with a newer copy it does');
	return;
}

sub failed_over
{
	my $standby = $host{standby}{node};
	opens('standby');
	is($standby->safe_psql('app', q{SELECT envelope_rotate_key('acme')}), '2', 'which makes versions of its own');
	$main->start;
	return;
}

sub retired
{
	my ($said) = @_;
	is(() = $said =~ /^ rewrapped +\| +\| +2$/mg, 2, 'the dry run and the real one rewrap every data key');
	like($said, qr/^ main +\| retired +\| \d{4}-.* \| [0-9A-F]+\/[0-9A-F]+$/m, 'the old KEK is retired, and it is known since when');
	$main->safe_psql('app', 'SELECT envelope_cache_flush()');
	opens('main');
	# The old backup needs the old KEK, which is still in the newest copy.
	my $new = $host{new}{node};
	my $old = PgEnvelope::Cluster::slurp_binary($new->keyring_file);
	bring_copies('new');
	isnt(PgEnvelope::Cluster::slurp_binary("$host{new}{places}{'/srv'}/restore/keyring"), $old, 'a newer copy of the keyring');
	$new->safe_psql('postgres', 'DROP DATABASE app');
	run_again('restore', 'new');
	opens('new');
	return;
}

# Values in plain, also in statistics.
sub plain_value { return 'plain-078-05-1120'; }

sub people
{
	my $plain = plain_value();
	$main->safe_psql('app', qq{CREATE TABLE people (id int PRIMARY KEY, ssn text);
		INSERT INTO people SELECT i, CASE i % 3 WHEN 0 THEN '$plain more' WHEN 1 THEN '$plain' END FROM generate_series(1, 999) i;
		CREATE STATISTICS people_stats (mcv) ON (id % 3), ssn FROM people; ANALYZE people});
	my %in = map { ($_ => 1) } in_files();
	ok($in{$_}, "(before, the old values are found in $_)") for map { $main->safe_psql('app', "SELECT pg_relation_filepath('$_')") } qw(people pg_statistic pg_statistic_ext_data);
	return;
}

sub in_files
{
	$main->safe_psql('app', 'CHECKPOINT');
	return grep { !m{^pg_wal/} } map { m{\Q@{[ $main->data_dir ]}\E/([^:]+)} ? $1 : $_ } $main->find_on_disk(plain_value());
}

sub sealed
{
	my ($said) = @_;
	like($said, qr/different *\n-+\n +0\n/, 'every value was sealed');
	is(join(' ', in_files()), '', 'no file of the database has an old value');
	is($main->safe_psql('app', q{SELECT count(*), count(ssn), min(envelope_decrypt(ssn, 'acme', envelope_bind('people.ssn', id::text))) FROM people}), "999|666|@{[ plain_value() ]}", 'and all open');
	# (The column's CHECK keeps the extension from being dropped: README says so.)
	$main->safe_psql('app', 'DROP TABLE people');
	return;
}

sub about_to_uninstall
{
	$main->fails_with('DROP EXTENSION pg_envelope', 'KE014', 'the extension is not just dropped', dbname => 'app');
	$main->safe_psql('app', 'ALTER TABLE customers ADD ssn_plain text; UPDATE customers SET ssn_plain = envelope_decrypt(ssn, key_id)');
	return;
}

sub uninstalled
{
	$main->_update_pid(1);
	is($main->safe_psql('app', q{SELECT string_agg(ssn_plain, ' '), to_regnamespace('envelope') IS NULL, current_setting('shared_preload_libraries') FROM customers}),
		'078-05-1120 078-05-1120|t|', 'nothing of it is left but what was opened');
	is($main->keeper_pid, undef, 'no keeper runs');
	return;
}
