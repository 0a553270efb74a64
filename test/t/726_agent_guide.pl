# README's way to an agent of its own does what it says, from a server that has had a local keyring: its commands
# but for systemctl's, its configuration and its settings, as another operating-system user; and the unit is in order.
use strict;
use warnings FATAL => 'all';
use FindBin;
use lib "$FindBin::RealBin/../perl";
use PgEnvelope::Cluster;
use PgEnvelope::OtherUser;
use PostgreSQL::Test::Utils;
use Test::More;

plan skip_all => 'SKIP: ' . PgEnvelope::OtherUser::missing() if PgEnvelope::OtherUser::missing();

my $readme = slurp_file("$FindBin::RealBin/../../README.md");
my $dir = PgEnvelope::OtherUser::directory('guide');
my $other = PgEnvelope::OtherUser::name();
my $group = getgrgid((getpwnam $other)[3]);
my $here = PostgreSQL::Test::Utils::tempdir_short();
chmod 0755, $here or die $!;
PgEnvelope::OtherUser::run('mkdir', "$dir/system") ;
my %place = ('/etc/pg_envelope' => "$dir/etc", '/var/lib/pg_envelope' => "$dir/lib", '/etc/systemd/system' => "$dir/system",
	'/run/pg_envelope' => "$dir", '/var/lib/postgresql/15/main.pg_envelope' => $here);
local $ENV{PATH} = "$ENV{PGE_BINDIR}:$ENV{PATH}:/usr/sbin:/sbin";
my $share = qx(pg_config --sharedir);
chomp $share;

sub block
{
	my ($name) = @_;
	my ($block) = $readme =~ /<!-- \Q$name\E -->\n```\w+\n(.*?)```/s;
	ok(defined $block, "README has its $name") or BAIL_OUT('README');
	return $block;
}

# Where root's are the other user's here.
sub translate
{
	my ($text) = @_;
	my $from = join '|', map { quotemeta } sort { length $b <=> length $a } keys %place;
	$text =~ s/($from)(?![\w.])/$place{$1}/g;
	$text =~ s/-o (root|pg_envelope) -g pg_envelope/-o $other -g $group/;
	return $text =~ s/^sudo (-u pg_envelope )?//r;
}

sub try_command
{
	my ($line) = @_;
	my ($command, $out, $err) = (translate($line));
	if ($command =~ /^useradd /)
	{
		# Its words are understood, and it would have done it.
		($out, $err) = run_command([ split / /, $command ]);
		like($err, qr{cannot (lock|open) /etc/|already exists}, $line);
		return;
	}
	my $status;
	($status, $out, $err) = PgEnvelope::OtherUser::run('env', "PATH=$ENV{PATH}", 'sh', '-ec', "cd '$here'; $command");
	is($status, 0, $line) or diag("$command: $err");
	return $out;
}

# --- a server that starts its agent ---
my $node = PgEnvelope::Cluster->new('guide', 'pg_envelope.kms_timeout' => 20000);
$node->safe_psql('postgres', q{
	SELECT envelope_create_kek('main');
	SELECT envelope_create_key('acme', 'main');
	CREATE TABLE t AS SELECT envelope_encrypt('value', 'acme') AS sealed});

# --- the agent ---
my $configuration = block('agent configuration');
is($configuration =~ s/^server_user = postgres$/'server_user = ' . getpwuid $>/em, 1, 'with the server\'s user');
append_to_file("$here/agent.conf", $configuration . "socket = $dir/agent.sock\nkeyring_file = $dir/lib/keyring\n");
chmod 0644, "$here/agent.conf" or die $!;
for my $line (grep { !/systemctl/ } split /\n/, block('agent commands'))
{
	my $out = try_command($line);
	like($out, qr/^\[agent\], line 1$/m, 'and prints the section') if $line =~ /check-config/;
}
my @mode = map { sprintf '%o', (stat "$dir/$_")[2] & 07777 } qw(etc lib system/pg_envelope_agent.service);
is_deeply(\@mode, [qw(750 700 644)], 'as it says who may read what');

# (The server's user may not read the file; here it stands in for root.)
ok(copy_public($node->keyring_file, "$here/keyring"), '(the keyring)');
$node->stop;
for my $line (grep { !/systemctl/ } split /\n/, block('agent keyring'))
{
	try_command($line);
}
unlink $node->keyring_file, "$here/keyring";

# --- the unit ---
my $unit = slurp_file("$dir/system/pg_envelope_agent.service");
my ($start) = $unit =~ /^ExecStart=(.*)$/m;
like($start, qr{^/.*/pg_envelope_agent serve --config /etc/pg_envelope/agent\.conf$}, 'the unit starts the agent with that file');
unlike($unit, qr/\@\w+\@/, 'nothing in it is left open');
like($unit, qr/^$_$/m, "it has $_")
  for 'User=pg_envelope', 'CapabilityBoundingSet=', 'NoNewPrivileges=yes', 'PrivateTmp=yes', 'LimitMEMLOCK=infinity', 'Type=notify', 'RuntimeDirectoryMode=0755', 'StateDirectoryMode=0700',
  'Restart=always', 'StartLimitIntervalSec=0', 'Before=.*system-postgresql\.slice.*';
unlike($unit, qr/^(PrivateUsers|DynamicUser)=yes/m, 'and not what would hide the server\'s user');
SKIP:
{
	skip 'SKIP: no systemd-analyze', 2 if system('command -v systemd-analyze >/dev/null') != 0;
	# With a program and a user that are there (of nobody it would warn).
	my $user = getpwuid $>;
	my $users = getgrgid $);
	mkdir "$here/unit" or die $!;
	append_to_file("$here/unit/pg_envelope_agent.service", $unit =~ s/^ExecStart=\S+/ExecStart=$ENV{PGE_BINDIR}\/pg_envelope_agent/mr =~ s/^User=.*/User=$user/mr =~ s/^Group=.*/Group=$users/mr);
	my ($out, $err) = run_command([ 'systemd-analyze', 'verify', "$here/unit/pg_envelope_agent.service" ]);
	is($err, '', 'systemd-analyze verify finds nothing');
	($out, $err) = run_command([ 'systemd-analyze', 'security', '--offline=true', '--threshold=15', '--no-pager', "$here/unit/pg_envelope_agent.service" ]);
	ok($? == 0, 'systemd-analyze security finds it hardened') or diag("$out$err");
}

# --- together ---
my $agent = PgEnvelope::OtherUser->start_agent($dir, config => "$dir/etc/agent.conf");
my $settings = block('agent server') =~ s/^pg_envelope\.agent_user = pg_envelope$/pg_envelope.agent_user = $other/mr;
my $conf = slurp_file($node->data_dir . '/postgresql.conf') =~ s/^pg_envelope\.keyring_file.*\n//mr;
unlink $node->data_dir . '/postgresql.conf';
append_to_file($node->data_dir . '/postgresql.conf', "$conf\n${settings}pg_envelope.agent_socket = '$dir/agent.sock'\n");
$node->start;
is($node->safe_psql('postgres', q{SELECT envelope_decrypt(sealed, 'acme') FROM t}), 'value', 'what was sealed before opens');
ok($node->poll_query_until('postgres', q{SELECT value = 'reachable' FROM envelope_status() WHERE name = 'agent_state'}), 'by the agent of its own');
is($node->safe_psql('postgres', q{SELECT envelope_rotate_kek('main'); SELECT outcome FROM rewrap_all('main', 'main')}), "2\nrewrapped", 'which also makes new versions');


# README: probe is run as that user; it finds the keyring by the file.
my $uri = $node->safe_psql('postgres', q{SELECT uri FROM envelope.kek});
my ($status, $out) = PgEnvelope::OtherUser::run("$ENV{PGE_BINDIR}/pg_envelope_agent", 'probe', '--config', "$dir/etc/agent.conf", $uri);
is($status, 0, 'probe reaches a KEK as the agent does') or diag($out);
$agent->stop;
$node->stop;
done_testing();

sub copy_public
{
	my ($from, $to) = @_;
	append_to_file($to, slurp_file($from));
	return chmod 0644, $to;
}
