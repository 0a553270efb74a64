# Values that were sealed and opened, and the keys, are nowhere that a server writes
# or shows: not in its log at debug5, the activity views, statistics, plans, heap, WAL, base
# backup, dumps or core files.  In each place every form of a planted control is found.
#
# The exceptions, each with a canary of its own that has to be found there: temporary
# files of a sort (while it runs); what the user typed as a literal; and what PostgreSQL
# itself prints of values it was given, in the log only: the value that a cast failed on, and
# bind values in auto_explain's plans.
use strict;
use warnings FATAL => 'all';
use FindBin;
use lib "$FindBin::RealBin/../perl";
use File::Path qw(make_path);
use PgEnvelope::Canary;
use PgEnvelope::Cluster;
use PgEnvelope::CoreFile;
use PgEnvelope::KeyBytes;
use PgEnvelope::BindClient;
use PostgreSQL::Test::Utils;
use Test::More;

my $passphrase = 'passphrase-' . random_word();
my $node = PgEnvelope::Cluster->new('leaks', start => 0, allows_streaming => 1,
	'pg_envelope.secret_memory' => 'fallback', 'shared_buffers' => '2MB', 'autovacuum' => 'off',
	'log_destination' => 'stderr,csvlog,jsonlog', 'logging_collector' => 'on', 'log_min_messages' => 'debug5',
	'log_statement' => 'all', 'log_duration' => 'on', 'log_min_duration_statement' => '0', 'log_error_verbosity' => 'verbose',
	'log_parameter_max_length' => '0', 'log_parameter_max_length_on_error' => '0', 'log_replication_commands' => 'on',
	'log_rotation_size' => '0', 'log_filename' => 'server.log',
	'auto_explain.log_min_duration' => '0', 'auto_explain.log_analyze' => 'on', 'auto_explain.log_verbose' => 'on',
	'auto_explain.log_nested_statements' => 'on', 'auto_explain.log_buffers' => 'on', 'auto_explain.log_settings' => 'on',
	'pg_stat_statements.track' => 'all', 'track_activity_query_size' => '16kB', 'compute_query_id' => 'on');
# Not in the data directory: the base backup is a place of its own.
my $logs = $node->basedir . '/server-log';
mkdir $logs or die "$logs: $!";
my $work = $node->basedir . '/work';
make_path($work);
write_file("$work/passphrase", "$passphrase\n");
$node->append_conf('postgresql.conf', join "\n", "log_directory = '$logs'",
	q{shared_preload_libraries = 'pg_envelope, pg_stat_statements, auto_explain'}, '');
$node->append_conf('postgresql.conf', "auto_explain.log_parameter_max_length = 0\n")
  if $node->{_pg_version} >= 16;
$node->start;
$node->create_extension;
$node->safe_psql('postgres', 'CREATE EXTENSION pg_stat_statements');

#
# The keys: a KEK in a plain keyring, which is then put under a passphrase.
#
my $admin = $node->session;
$admin->query($_) for q{SET client_min_messages = error}, q{SELECT envelope_create_kek('main')},
  q{SELECT envelope_create_key('acme', 'main'), envelope_create_key('compact', 'main', 'AES256_GCM'), envelope_create_key('other', 'main')};
my @keks = PgEnvelope::KeyBytes::keks($node->keyring_file);
is(scalar @keks, 1, 'the KEK is known');
system_or_bail($node->agent_command, 'keyring', 'passwd', '--keyring', $node->keyring_file,
	'--new-passphrase-command', "cat '$work/passphrase'");
$node->append_conf('postgresql.conf', "pg_envelope.keyring_passphrase_command = 'cat ''$work/passphrase'''\n");
$node->restart;

#
# The canaries, and what they do.  A connection of its own passes them as bind
# parameters, under plans that keep parameters ($1) unless said otherwise.
#
my %canary = map { ($_ => "$_-" . random_word()) } qw(bound wrong damaged spilled typed cast planned);
$canary{bytes} = "\xff\xfe\xc3\x28" . random_word();
$admin = $node->session;
$admin->query('SET client_min_messages = error');
$admin->query('CREATE TABLE t (id int PRIMARY KEY, what text, sealed bytea)');
my $wire = PgEnvelope::BindClient->new($node);
$wire->query('SET plan_cache_mode = force_generic_plan');
my $insert = q{INSERT INTO t SELECT g, $1, envelope_encrypt($2, $3) FROM generate_series($4::int, $4::int + 39) g};
$wire->query($insert, 'bound', $canary{bound}, 'acme', 1);
$wire->query($insert, 'bound', $canary{bound}, 'compact', 101);
$wire->query($insert, $_->[0], $canary{ $_->[0] }, 'acme', $_->[1]) for [ 'wrong', 201 ], [ 'damaged', 301 ], [ 'spilled', 401 ], [ 'cast', 501 ];
$wire->query(q{INSERT INTO t SELECT 601, 'bytes', envelope_encrypt_bytea($1, 'acme')}, '\x' . unpack('H*', $canary{bytes}));

my $open = q{SELECT envelope_decrypt(sealed, $1) FROM t WHERE id = $2};
is($wire->query($open, 'acme', 1)->[0][0], $canary{bound}, 'a value opens');
is($wire->query($open, 'compact', 101)->[0][0], $canary{bound}, 'a compact one too');
is($wire->query(q{SELECT envelope_decrypt(envelope_reencrypt(sealed, 'acme'), 'acme') FROM t WHERE id = $1}, 1)->[0][0], $canary{bound}, 'reencrypted too');
my $sealed = $wire->query('SELECT sealed FROM t WHERE id = $1', 1)->[0][0];
is($wire->query(q{SELECT count(*) FROM t WHERE what = 'bound' AND envelope_decrypt(sealed) = $1}, $canary{bound})->[0][0], 80, 'and are looked for');

# Errors, each after the plain value was bound, or opened.
sub refused
{
	my ($sqlstate, $sql, @values) = @_;
	my (undef, $error) = $wire->run($sql, @values);
	is($error->{C} // 'no error', $sqlstate, "refused: $sql");
	return;
}
refused('KE001', $open, 'other', 201);
refused('KE001', q{SELECT envelope_decrypt(sealed, 'acme', $1) FROM t WHERE id = 201}, $canary{wrong});
refused('KE001', q{SELECT envelope_decrypt(set_byte(sealed, $1, (get_byte(sealed, $1) + 1) % 256), 'acme') FROM t WHERE id = 301}, $_) for 6, 20, 31, 60;
refused('KE001', q{SELECT envelope_decrypt(substr(sealed, 1, 40), 'acme') FROM t WHERE id = 301});
refused('KE002', q{SELECT envelope_decrypt('\\x02' || sealed, 'acme') FROM t WHERE id = 301});
refused('22021', $open, 'acme', 601);
refused('42704', q{SELECT envelope_encrypt($1, 'no such key')}, $canary{bound});
refused('22004', q{SELECT envelope_encrypt($1, NULL)}, $canary{bound});
refused('22021', q{SELECT envelope_encrypt($1, 'acme')}, "$canary{bound}\xff");
refused('22P02', q{SELECT envelope_decrypt(sealed, 'acme')::int FROM t WHERE id = 501});

# A plan that is made for one value holds the value, and auto_explain prints it.
$wire->query('SET plan_cache_mode = force_custom_plan');
$wire->query(q{SELECT length(envelope_encrypt($1, 'acme'))}, $canary{planned});
$wire->query('SET plan_cache_mode = force_generic_plan');

# Literals: in a query, and in a statement that is never normalised.
$admin->query("INSERT INTO t SELECT 701, 'typed', envelope_encrypt('$canary{typed}', 'acme')");
$admin->query("DO \$\$ BEGIN PERFORM envelope_encrypt('$canary{typed}', 'acme'); END \$\$");

# Statistics of the table as it is.
$admin->query($_) for 'CREATE STATISTICS s ON what, sealed FROM t', 'CREATE STATISTICS l ON (length(sealed)), (what || what) FROM t', 'ANALYZE t';

my ($dek) = PgEnvelope::KeyBytes::dek($node, 'acme');
my ($compact) = PgEnvelope::KeyBytes::dek($node, 'compact');
ok(defined $dek && defined $compact, 'the DEKs are known');
my %key = (DEK => $dek, 'compact DEK' => $compact, KEK => $keks[0], passphrase => $passphrase,
	'file key' => PgEnvelope::KeyBytes::file_key($node->keyring_file, $passphrase));

#
# The control.  Its forms are the server's own, not the scanner's: else a mistake in
# both would go unseen.
#
my $control = "Zo\xc3\xab " . random_word();
my $matcher = PgEnvelope::Canary->matcher(%canary, %key, control => $control);
my %sql_form = (raw => q{convert_from(c, 'UTF8')}, hex => q{c::text}, HEX => q{upper(encode(c, 'hex'))}, octal => q{encode(c, 'escape')},
	map { ("base64 at $_" => "encode(convert_to('" . 'x' x $_ . "', 'UTF8') || c || ' and more', 'base64')") } 0 .. 2);
my @forms = sort keys %sql_form;
my %planted = map { ($_ => $node->safe_psql('postgres',
	"SELECT $sql_form{$_} FROM (VALUES ('\\x" . unpack('H*', $control) . "'::bytea)) v(c)")) } @forms;
my $all_forms = join ' ', map { $planted{$_} } @forms;
my $quoted = "'" . $all_forms =~ s/'/''/gr . "'";

# Several rows: one at the end of a page of WAL is in pieces.
$admin->query('CREATE TABLE control (id int, kind text, v text, b bytea)');
$admin->query("INSERT INTO control SELECT i, 'all', $quoted, '\\x" . unpack('H*', pack('v*', unpack('C*', $control))) . "' FROM generate_series(1, 3) i");
for my $form (@forms)
{
	(my $text = $planted{$form}) =~ s/'/''/g;
	$admin->query("INSERT INTO control SELECT i, 'one', '$text', NULL FROM generate_series(1, 40) i");
}
$admin->query($_) for 'CREATE STATISTICS control_s ON kind, v FROM control', 'CREATE STATISTICS control_e ON (v || kind) FROM control',
  'ALTER STATISTICS control_s SET STATISTICS 100', 'ANALYZE control';

# Asserts of one place: what was found are the control's forms and exactly these.
sub place_holds
{
	my ($place, $found, %params) = @_;
	my %wanted = map { ($_ => 1) } @{ $params{allowed} // [] };
	my %seen = map { /^(?:.*: )?(.*?) (raw|hex|HEX|octal.*|escape.*|base64.*|UTF-16)$/ ? ("$1 $2" => 1) : die "what is this: $_" } @$found;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	my @controls = map { "control $_" } (@forms, $params{binary} ? 'UTF-16' : ());
	is(join(', ', grep { !has_form(\%seen, $_) } @controls), '', "$place: every form of the control is found");
	my %other = map { (s/ (?:raw|hex|HEX|octal.*|escape.*|base64.*|UTF-16)$//r => 1) } grep { !/^control / } keys %seen;
	is_deeply([ sort keys %other ], [ sort keys %wanted ], "$place: and nothing else" . (%wanted ? ' but ' . join(', ', sort keys %wanted) : ''))
	  or diag(join "\n", grep { !/: control / } @$found);
	return;
}

# Bytes of this kind look the same in both of bytea's escape formats.
sub has_form
{
	my ($seen, $wanted) = @_;
	return $seen->{$wanted} || ($wanted =~ /octal/ && grep { /^control (?:octal|escape)/ } keys %$seen);
}

# Rows as text, of SQL: in hex on their way, so that client and log change nothing.
sub rows_of
{
	my ($sql) = @_;
	return pack 'H*', $admin->query("SELECT string_agg(encode(convert_to(r::text, 'UTF8'), 'hex'), '0a') FROM ($sql) r");
}

#
# Activity: other sessions' last statements.
#
my $other = $node->session;
$other->query("SELECT 1 /* $all_forms */ AS one");
my $typing = $node->session;
$typing->query("SELECT length(envelope_encrypt('$canary{typed}', 'acme'))");
$wire->query($open, 'acme', 1);
place_holds('pg_stat_activity', [ $matcher->in_text(rows_of('SELECT * FROM pg_stat_activity WHERE pid <> pg_backend_pid()')) ], allowed => ['typed']);
place_holds('pg_stat_statements', [ $matcher->in_text(rows_of('SELECT * FROM pg_stat_statements')) ], allowed => ['typed']);
place_holds($_, [ $matcher->in_text(rows_of("SELECT * FROM $_")) ]) for 'pg_stats', 'pg_statistic';
place_holds('extended statistics', [ $matcher->in_text(join "\n",
	map { rows_of("SELECT * FROM $_") } 'pg_stats_ext', 'pg_stats_ext_exprs', 'pg_statistic_ext_data') ]);

# Plans: of opening rows, and of opening a constant, which the planner might fold.
my @explain = map { "EXPLAIN (ANALYZE, VERBOSE, BUFFERS) $_" }
  q{SELECT envelope_decrypt(sealed, 'acme') FROM t WHERE id = 1},
  q{SELECT count(*) FROM t WHERE what = 'bound' AND envelope_decrypt(sealed) > 'x'},
  qq{SELECT envelope_decrypt('$sealed'::bytea, 'acme'), id FROM t WHERE envelope_decrypt('$sealed'::bytea, 'acme') = what},
  q{SELECT min(envelope_decrypt(sealed, 'acme')) OVER (ORDER BY envelope_decrypt(sealed, 'acme')) FROM t WHERE what = 'spilled'};
place_holds('EXPLAIN VERBOSE', [ $matcher->in_text(join "\n", (map { $admin->query($_) } @explain),
	$admin->query("EXPLAIN VERBOSE SELECT $quoted")) ]);

#
# A sort that spills, while it runs.
#
my $spill = $node->session;
$spill->query('BEGIN');
$spill->query(q{SET LOCAL work_mem = '64kB'});
$spill->query(qq{DECLARE spill CURSOR FOR
	SELECT v FROM (SELECT envelope_decrypt(sealed, 'acme') AS v, g FROM t, generate_series(1, 100) g WHERE what = 'spilled'
		UNION ALL SELECT v, id FROM control, generate_series(1, 10)) s ORDER BY v, g});
$spill->query('FETCH spill');
my @temporary = $matcher->in_files($node->data_dir . '/base/pgsql_tmp');
place_holds('temporary files of a spill', \@temporary, allowed => ['spilled']);
$spill->query('COMMIT');
is_deeply([ $matcher->in_files($node->data_dir . '/base/pgsql_tmp') ], [], 'which go with the statement');

#
# Disk.
#
$admin->query('CHECKPOINT');
place_holds('heap', [ $matcher->in_files($node->data_dir . '/base', $node->data_dir . '/global') ], binary => 1);
place_holds('WAL', [ $matcher->in_files($node->data_dir . '/pg_wal') ], binary => 1);
$node->backup('base');
place_holds('base backup', [ $matcher->in_files($node->backup_dir . '/base') ], binary => 1);
my $tmpfile = "$work/tmpfile.so";
system_or_bail('cc', '-shared', '-fPIC', '-o', $tmpfile, "$FindBin::RealBin/../tools/tmpfile.c");
my %dump = (plain => [], custom => ['-Z0'], directory => ['-Z0'], tar => []);
for my $format (sort keys %dump)
{
	local $ENV{LD_PRELOAD} = $tmpfile;
	system_or_bail($node->installed_command('pg_dump'), '-d', $node->connstr('postgres'), '-F', $format, @{ $dump{$format} }, '-f', "$work/dump.$format");
	place_holds("dump, $format", [ $matcher->in_files("$work/dump.$format") ]);
}

#
# Core files: of a session that has used a key there is none; of the others, all that is
# shared is in it, so the literals too (the activity view's memory).
#
SKIP:
{
	my $missing = PgEnvelope::CoreFile::missing();
	skip $missing, 7 if defined $missing;
	$other->query("SELECT set_config('control.forms', convert_from('\\x" . unpack('H*', $all_forms) . "', 'UTF8'), false)");
	for my $pid ($node->postmaster_pid, $other->pid)
	{
		my $core = PgEnvelope::CoreFile::of_process($pid, $work);
		ok(defined $core, "a core file of $pid") or next;
		# the control is in the memory of the activity view, for both
		place_holds('core file', [ grep { !/: typed / } $matcher->in_files($core) ]);
		unlink $core;
	}
	ok(!defined PgEnvelope::CoreFile::of_process($typing->pid, $work), 'none of a session that has used a key');
}

#
# The log, last: it has seen all of the above.  auto_explain's part is looked at alone too.
#
$admin->query("DO \$\$ BEGIN RAISE LOG '%', convert_from('\\x" . unpack('H*', $all_forms) . "', 'UTF8'); END \$\$");
$admin->query("SELECT $quoted");
my @logs = glob "$logs/*";
is(scalar @logs, 3, 'three logs');
# The collector writes them when it comes to it.
my $last = random_word();
$admin->query("SELECT '$last'");
for my $file (@logs)
{
	PgEnvelope::Cluster::wait_until(sub { index(PgEnvelope::Cluster::slurp_binary($file), $last) >= 0 }, "the end of $file");
}
my @printed = qw(cast planned typed);
place_holds($_ =~ s/.*\.//r . ' log', [ $matcher->in_files($_) ], allowed => \@printed) for @logs;
is_deeply([ $matcher->in_files($node->logfile) ], [], 'nothing before the collector starts');
my $log = PgEnvelope::Cluster::slurp_binary((grep { /\.log$/ } @logs)[0]);
like($log, qr/DEBUG:  /, 'at debug level');
like($log, qr/ LOG:  \S+ +execute <unnamed>: INSERT INTO t SELECT g, \$1/, 'with statements that had bind values');
my $plans = join "\n", $log =~ /plan:\n((?:\t.*\n)+)/g;
like($plans, qr/Output: .*envelope_encrypt\(\$2, \$3\)/, 'and with plans');
place_holds('auto_explain', [ $matcher->in_text($plans) ], allowed => [ 'planned', 'typed' ]);

$_->close for $admin, $other, $typing, $spill, $wire;
$node->stop;
done_testing();

sub random_word
{
	return sprintf '%08x%08xQ', map { int rand 2**32 } 1, 2;
}

sub write_file
{
	my ($file, $text) = @_;
	open(my $out, '>', $file) or die "$file: $!";
	print $out $text;
	close $out or die "$file: $!";
	return;
}
