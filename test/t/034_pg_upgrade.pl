# pg_upgrade, copying and linking: what was sealed before opens afterwards, and all
# that stands for the keys is as it was.  The old server is the one in PGE_OLD_BINDIR
# (test/versions/run.sh: 15), else one of the same version, and so with PGE_OLD_KNOWS_MORE=1: a
# newer version, but of an earlier day, may not take all that the old one has.
use strict;
use warnings FATAL => 'all';
use FindBin;
use lib "$FindBin::RealBin/../perl";
use File::Basename;
use File::Copy;
use File::Find;
use PgEnvelope::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

# The programs of an older release of Debian, and what they link to.
delete $ENV{PGE_OLD_BINDIR} if $ENV{PGE_OLD_KNOWS_MORE};
my $old_bindir = $ENV{PGE_OLD_BINDIR} // $ENV{PGE_BINDIR};
$ENV{LD_LIBRARY_PATH} = join ':', grep { defined } @ENV{qw(PGE_OLD_LIBRARIES LD_LIBRARY_PATH)} if $ENV{PGE_OLD_LIBRARIES};
# 18 would have checksums and 15 not.
$ENV{PG_TEST_INITDB_EXTRA_OPTS} = '--data-checksums';
my %with = ('log_min_messages' => 'debug1');

sub old_server
{
	local $ENV{PGE_BINDIR} = $old_bindir;
	return PgEnvelope::Cluster->new('old', %with);
}

my $old = old_server();
note('from ' . $old->pg_version . " in $old_bindir");
my $s = $old->session;
$s->query($_) for q{SET client_min_messages = error}, q{CREATE ROLE reader LOGIN},
  q{SELECT envelope_create_kek(k) FROM unnest('{main,second,gone}'::text[]) k},
  q{SELECT envelope_create_key('acme', 'main'), envelope_create_key('compact', 'gone', 'AES256_GCM')},
  q{SELECT envelope_create_key(k, 'main') FROM unnest('{off,lost}'::text[]) k},
  q{SELECT envelope_grant('acme', 'reader', '{decrypt}')},
  q{CREATE TABLE sealed (key_id text, plain text, ssn bytea)}, q{GRANT SELECT ON sealed TO reader};
my $seal = q{INSERT INTO sealed SELECT k, k || ' ' || i, envelope_encrypt(k || ' ' || i, k) FROM generate_series(1, 100) i, unnest('%s'::text[]) k};
$s->query($_) for sprintf($seal, '{acme,compact,off}'), q{SELECT envelope_rotate_key(k) FROM unnest('{acme,compact}'::text[]) k},
  sprintf($seal, '{acme,compact}'), q{SELECT envelope_rotate_kek('main')}, q{SELECT count(*) FROM rewrap_all('gone', 'main')},
  q{SELECT count(*) FROM rewrap_all('main', 'second', keep_old => true)},
  q{SELECT envelope_disable_key(k) FROM unnest('{off,lost}'::text[]) k}, q{SELECT envelope_destroy_key('lost')};
$s->close;

# All rows of the tables, and what pg_upgrade has to carry over beside them.
sub state_of
{
	my ($node) = @_;
	my @tables = split /\n/, $node->safe_psql('postgres', q{SELECT relname FROM pg_class
		WHERE relnamespace = 'envelope'::regnamespace AND relkind = 'r' ORDER BY 1});
	my %state = map { $_ => $node->safe_psql('postgres', "SELECT t FROM envelope.$_ t ORDER BY t::text") } @tables;
	$state{'extconfig'} = $node->safe_psql('postgres', q{SELECT c::regclass || coalesce(' ' || nullif(extcondition[i], ''), '')
		FROM pg_extension, unnest(extconfig) WITH ORDINALITY u(c, i) WHERE extname = 'pg_envelope' ORDER BY 1});
	$state{'triggers'} = $node->safe_psql('postgres', q{SELECT tgrelid::regclass, tgname, tgenabled, tgtype FROM pg_trigger
		WHERE tgrelid IN (SELECT oid FROM pg_class WHERE relnamespace = 'envelope'::regnamespace) ORDER BY 1, 2});
	# (Before 17, or after an upgrade, not the types of its tables.)
	$state{'members'} = $node->safe_psql('postgres', q{SELECT pg_describe_object(classid, objid, 0) FROM pg_depend
		WHERE refclassid = 'pg_extension'::regclass AND deptype = 'e'
		AND refobjid = (SELECT oid FROM pg_extension WHERE extname = 'pg_envelope') AND classid <> 'pg_type'::regclass ORDER BY 1});
	# (17's owners have one more right on a table, MAINTAIN.)
	$state{'rights'} = $node->safe_psql('postgres', q{
		SELECT relname, relowner::regrole, (SELECT string_agg(grantee::regrole || ' ' || privilege_type, ',' ORDER BY 1)
			FROM aclexplode(relacl) WHERE grantee <> relowner)
		FROM pg_class WHERE relnamespace = 'envelope'::regnamespace
		UNION ALL SELECT p.oid::regprocedure::text, proowner::regrole, proacl::text FROM pg_proc p
		JOIN pg_depend ON classid = 'pg_proc'::regclass AND objid = p.oid AND deptype = 'e' ORDER BY 1});
	return \%state;
}

my $opens = q{SELECT key_id, count(*) FROM sealed WHERE envelope_decrypt(ssn, key_id) = plain AND key_id <> 'off' GROUP BY 1 ORDER BY 1};
my $before = state_of($old);
is($old->safe_psql('postgres', $opens), "acme|200\ncompact|200", 'the old server opens what it has sealed');
is(scalar(grep { /\|A\|/ } split /\n/, $before->{triggers}), scalar(split /\n/, $before->{triggers}), 'its triggers fire always');
isnt($before->{$_}, '', "there is something in $_") for qw(keyring kek key dek wrapping key_grant extconfig triggers members rights);
$old->stop;

my $keeper = qr/registering background worker "pg_envelope/;
like(slurp_file($old->logfile), $keeper, 'a server that starts says so of its keeper');

# What the two servers said during the upgrade.
sub logs_of_upgrade
{
	my ($node) = @_;
	my $text = '';
	find(sub { $text .= slurp_file($_) if /\.log\z/ }, $node->data_dir . '/pg_upgrade_output.d');
	return $text;
}

sub upgrade
{
	my ($name, @mode) = @_;
	my $new = PgEnvelope::Cluster->new($name, %with, start => 0, plain_keyring => 1);
	# (It writes scripts where it stands.)
	chdir $new->basedir or die $!;
	my $bindir = $ENV{PGE_BINDIR} // dirname($new->installed_command('pg_upgrade'));
	command_ok([ $new->installed_command('pg_upgrade'), '--no-sync', '--retain', @mode,
			'-d', $old->data_dir, '-D', $new->data_dir, '-b', $old_bindir, '-B', $bindir,
			'-s', $new->host, '-p', $old->port, '-P', $new->port, '-U', $new->superuser ], "pg_upgrade @mode");
	my $logs = logs_of_upgrade($new);
	like($logs, qr/database system is ready to accept connections/, "$name: its servers' logs are found");
	unlike($logs, $keeper, "$name: without a keeper");
	ok(!-e $new->keyring_file, "$name: and nobody has made a keyring");
	copy($old->keyring_file, $new->keyring_file) or die "keyring: $!";
	chmod 0600, $new->keyring_file;
	$new->start;
	is_deeply(state_of($new), $before, "$name: all rows, marks for dumps, triggers, members and rights are as they were");
	is($new->safe_psql('postgres', $opens), "acme|200\ncompact|200", "$name: and all values open");
	is($new->safe_psql('postgres', q{SELECT count(*) FROM sealed WHERE envelope_decrypt(ssn, 'acme') = plain AND key_id = 'acme'},
			extra_params => [ '-U', 'reader' ]), '200', "$name: also for a role with the right");
	$new->fails_with(q{SELECT envelope_decrypt(ssn, 'off') FROM sealed WHERE key_id = 'off' LIMIT 1}, 'KE004', "$name: a disabled key is one");
	$new->fails_with(q{SELECT envelope_create_key('lost', 'main')}, '42710', "$name: a destroyed one's name stays taken");
	$new->fails_with(q{DELETE FROM envelope.wrapping}, '42501', "$name: the tables are kept from who writes by hand", user => 'reader');
	is($new->safe_psql('postgres', q{SELECT envelope_rotate_key('acme')}), '3', "$name: a key is rotated");
	is($new->safe_psql('postgres', q{SELECT outcome, count(*) FROM rewrap_all('second', 'main') GROUP BY 1}), 'already|6', "$name: and rewrapped");
	is($new->safe_psql('postgres', $opens), "acme|200\ncompact|200", "$name: and still all values open");
	$new->stop;
	like(slurp_file($new->logfile), $keeper, "$name: started as ever it has its keeper");
	return;
}

upgrade('copied');
upgrade('linked', '--link');
done_testing();
