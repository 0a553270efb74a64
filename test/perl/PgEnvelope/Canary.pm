# The forms in which bytes come out of a server, and a search for them.
#
#	my $matcher = PgEnvelope::Canary->matcher(ssn => $bytes, key => $more);
#	$matcher->in_text($text);            # "ssn hex", ... : what is found, sorted
#	$matcher->in_files(@paths);          # "PATH: ssn hex", ...; folders are walked
#	PgEnvelope::Canary::forms($bytes);   # {raw => ..., hex => ...}
#
# Forms: as they are; hex in either case (so bytea's \x too); bytea's escape format,
# however often its backslashes were doubled; base64 at each of three
# offsets, without the ends that depend on neighbours, also broken into lines; UTF-16.
#
# SPDX-License-Identifier: PostgreSQL
package PgEnvelope::Canary;

use strict;
use warnings FATAL => 'all';

use Carp;
use Fcntl ':mode';
use File::Find;
use MIME::Base64;

# Shorter needles are found anywhere.
my $shortest = 4;
my $chunk = 4 * 1024 * 1024;

sub forms
{
	my ($bytes) = @_;
	my $hex = unpack('H*', $bytes);
	my %form = (raw => $bytes, hex => $hex, HEX => uc $hex,
		octal => octal($bytes, '\\\\', qr/[^\x20-\x7e]/), 'octal, single' => octal($bytes, '\\', qr/[^\x20-\x7e]/),
		escape => octal($bytes, '\\\\', qr/[\x00\x80-\xff]/), 'escape, single' => octal($bytes, '\\', qr/[\x00\x80-\xff]/),
		'UTF-16' => pack('v*', unpack('C*', $bytes)));
	for my $skip (0 .. 2)
	{
		my $text = encode_base64(("\0" x $skip) . $bytes, '');
		my $from = (0, 2, 3)[$skip];
		my $to = int((length($bytes) + $skip) * 8 / 6);
		$form{"base64 at $skip"} = substr($text, $from, $to - $from);
	}
	return \%form;
}

# As bytea_out does with bytea_output = escape, or encode(…, 'escape').  $own: what becomes
# of a backslash among the bytes.
sub octal
{
	my ($bytes, $own, $special) = @_;
	return join '', map {
		$_ eq '\\' ? $own : $_ =~ $special ? '\\' . sprintf('%03o', ord) : $_
	} split //, $bytes;
}

sub matcher
{
	my ($class, %needle) = @_;
	my (%name, $longest);
	$longest = 0;
	for my $name (sort keys %needle)
	{
		croak "a needle of under $shortest bytes is found anywhere" if length($needle{$name}) < $shortest;
		my $forms = forms($needle{$name});
		# Where two forms are the same bytes, the simplest names them.
		for my $form (reverse sort { rank($a) <=> rank($b) || $a cmp $b } keys %$forms)
		{
			$name{ $forms->{$form} } = "$name $form";
			$longest = length $forms->{$form} if length $forms->{$form} > $longest;
		}
	}
	croak 'nothing to look for' unless %name;
	# One alternation: Perl compiles it to a trie.
	my $any = join '|', map { quotemeta } sort { length $b <=> length $a || $a cmp $b } keys %name;
	return bless { name => \%name, any => qr/($any)/, longest => $longest }, $class;
}

sub rank
{
	my ($form) = @_;
	return $form eq 'raw' ? 0 : $form =~ /^hex|^HEX/ ? 1 : $form eq 'octal' ? 2 : 3;
}

sub in_text
{
	my ($self, $text) = @_;
	my %found;
	$self->count($text, \%found);
	return sort keys %found;
}

# The same without what quoting and line breaks do: for memory, of which there is much.
sub in_memory
{
	my ($self, $text) = @_;
	my %found;
	$self->count_plain($text, \%found);
	return sort keys %found;
}

# Base64 is broken into lines (in JSON by a backslash and an n), and who quotes a text doubles
# its backslashes, again and again; so the text is looked at without either as well.
sub count
{
	my ($self, $text, $found) = @_;
	$self->count_plain($text, $found);
	$self->count_altered($text =~ s/\\{2,}/\\/gr, qr/octal|escape/, $found) if index($text, '\\\\') >= 0;
	my $dropped = $text =~ tr/\r\n\t//d;
	$dropped += $text =~ s/\\+n//g if index($text, '\\n') >= 0;
	$self->count_altered($text, qr/base64/, $found) if $dropped;
	return;
}

# What is found only then is a hit too.
sub count_altered
{
	my ($self, $text, $forms, $found) = @_;
	my %altered;
	$self->count_plain($text, \%altered);
	$found->{$_} //= $altered{$_} for grep { $_ =~ $forms } keys %altered;
	return;
}

# A lookahead would find overlapping ones too, without the trie and 50 times slower.
sub count_plain
{
	my ($self, $text, $found) = @_;
	while ($text =~ /$self->{any}/g)
	{
		$found->{ $self->{name}{$1} }++;
		pos($text) = $-[0] + 1;
	}
	return;
}

# {form => count}; undef, with $!, if the file cannot be read in full.  Adds its
# length to *$bytes.
sub in_file
{
	my ($self, $path, $bytes) = @_;
	open(my $file, '<:raw', $path) or return;
	my ($tail, %found) = ('');
	while (1)
	{
		my $n = sysread($file, my $buffer, $chunk) // return;
		last if $n == 0;
		$$bytes += $n if defined $bytes;
		my $text = $tail . $buffer;
		$self->count($text, \%found);
		# Room for a needle and its line ends.  One that lies wholly in it counts twice: once is enough.
		$tail = length $text > 2 * $self->{longest} ? substr($text, -2 * $self->{longest}) : $text;
	}
	return \%found;
}

# Every regular file below the paths.  What has gone meanwhile is no file; what
# cannot be read is no clean file.
sub in_files
{
	my ($self, @paths) = @_;
	my @found;
	# (Of a folder that has gone since it was listed it would warn, which is fatal here.)
	no warnings 'File::Find';
	find({ no_chdir => 1, wanted => sub {
		my @stat = lstat $_ or return;
		my $path = $_;
		croak "cannot scan $path: $!" if S_ISDIR($stat[2]) && !opendir(my $folder, $path) && -e $path;
		return unless S_ISREG($stat[2]);
		my $hits = $self->in_file($path);
		croak "cannot scan $path: $!" if !defined $hits && -e $path;
		push @found, map { "$path: $_" } sort keys %{ $hits // {} };
	} }, grep { -e } @paths);
	return @found;
}

1;
