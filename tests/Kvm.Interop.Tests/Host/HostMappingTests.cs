namespace Kvm.Interop.Tests.Host;

public sealed class HostMappingTests
{
    private const nuint TwoMiB = 2 << 20;

    [Theory]
    [InlineData(0x1000)]
    [InlineData(0x10000)]
    [InlineData(0x400000)]
    public void Anonymous_memory_is_zero_writable_and_of_the_length_asked(int length)
    {
        using HostMapping mapping = HostMapping.Anonymous((nuint)length);

        mapping.Span.Length.Should().Be(length);
        mapping.Span.IndexOfAnyExcept((byte)0).Should().Be(-1);
        mapping.Span[^1] = 9;
        mapping.Span[^1].Should().Be(9);
        mapping.File.Should().BeNull();
    }

    [Theory]
    [InlineData(HugePages.Default)]
    [InlineData(HugePages.Transparent)]
    public void Mappings_of_two_mebibytes_and_more_start_at_a_multiple_of_it(HugePages pages)
    {
        using HostMapping mapping = HostMapping.Anonymous(TwoMiB + 0x1000, pages);

        ((nuint)mapping.Address % TwoMiB).Should().Be((nuint)0);
        mapping.Span[^1].Should().Be(0);
    }

    [Fact]
    public void Transparent_huge_pages_are_advised_for_the_mapping()
    {
        using HostMapping mapping = HostMapping.Anonymous(2 * TwoMiB, HugePages.Transparent);

        VmFlagsAt(mapping.Address).Should().Contain("hg");
    }

    [Fact]
    public void The_first_bytes_can_be_kept_in_small_pages_and_the_rest_stays_large()
    {
        using HostMapping mapping = HostMapping.Anonymous(4 * TwoMiB, HugePages.Transparent);

        mapping.KeepSmall(TwoMiB);

        VmFlagsAt(mapping.Address).Should().Contain("nh").And.NotContain("hg");
        VmFlagsAt(mapping.Address + (nint)TwoMiB).Should().Contain("hg");
        mapping.KeepSmall(nuint.MaxValue - 4095);
        VmFlagsAt(mapping.Address + (nint)TwoMiB).Should().Contain("nh", "more than there are is all of them");
        mapping.Span[^1].Should().Be(0);
    }

    [SkippableFact]
    public void Reserved_huge_pages_are_used_where_the_host_has_reserved_some()
    {
        string free = File.ReadLines("/proc/meminfo").First(line => line.StartsWith("HugePages_Free", StringComparison.Ordinal));
        Skip.If(free.EndsWith(" 0", StringComparison.Ordinal), "the host has no reserved huge pages");
        using HostMapping mapping = HostMapping.Anonymous(TwoMiB, HugePages.Reserved);

        mapping.Span[0] = 1;

        VmFlagsAt(mapping.Address).Should().Contain("ht");
    }

    [Fact]
    public void A_length_no_mapping_can_have_is_refused()
    {
        foreach (nuint length in new nuint[] { 0, 1, 4095, 4097, nuint.MaxValue, nuint.MaxValue - 4095 })
        {
            FluentActions.Invoking(() => HostMapping.Anonymous(length)).Should().Throw<ArgumentOutOfRangeException>();
            FluentActions.Invoking(() => HostMapping.Shared(length, "x")).Should().Throw<ArgumentOutOfRangeException>();
        }

        FluentActions.Invoking(() => HostMapping.Anonymous(0x1000, HugePages.Reserved)).Should().Throw<ArgumentOutOfRangeException>();
    }

    [Fact]
    public void More_than_the_address_space_is_refused_by_the_kernel()
    {
        FluentActions.Invoking(() => HostMapping.Anonymous((nuint)1 << 60)).Should().Throw<KvmException>().Which.Errno.Should().Be(Errno.ENOMEM);
    }

    [Theory]
    [InlineData(0x2000)]
    [InlineData(0x200000)]
    public void Shared_memory_shows_in_a_second_mapping_of_its_file(int length)
    {
        using HostMapping mapping = HostMapping.Shared((nuint)length, "guest-test");
        using MappingHandle other = MappingHandle.Map((nuint)length, Libc.PROT_READ, Libc.MAP_SHARED, mapping.File!.Fd, 0, "test");

        mapping.Span[^1] = 0x42;

        unsafe
        {
            ((byte*)other.Address)[length - 1].Should().Be(0x42);
        }
    }

    [Fact]
    public void The_file_of_shared_memory_cannot_be_resized_or_unsealed()
    {
        using HostMapping mapping = HostMapping.Shared(0x2000, "guest-test");
        int fd = mapping.File!.Fd;

        Libc.ftruncate(fd, 0x1000).Should().Be(-1);
        Libc.ftruncate(fd, 0x3000).Should().Be(-1);
        Libc.fcntl(fd, Libc.F_GET_SEALS, 0).Should().Be(Libc.F_SEAL_SHRINK | Libc.F_SEAL_GROW | Libc.F_SEAL_SEAL);
        Libc.fcntl(fd, Libc.F_ADD_SEALS, Libc.F_SEAL_WRITE).Should().Be(-1);
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void Discarded_pages_read_as_zero_and_others_stay(bool shared)
    {
        using HostMapping mapping = shared ? HostMapping.Shared(0x4000, "guest-test") : HostMapping.Anonymous(0x4000);
        mapping.Span.Fill(0xee);

        mapping.Discard(0x1000, 0x2000).Should().Be(0);

        mapping.Span[0x0fff].Should().Be(0xee);
        mapping.Span[0x1000].Should().Be(0);
        mapping.Span[0x2fff].Should().Be(0);
        mapping.Span[0x3000].Should().Be(0xee);
    }

    [Fact]
    public void Discarding_outside_the_mapping_is_refused_here()
    {
        using HostMapping mapping = HostMapping.Anonymous(0x4000);

        FluentActions.Invoking(() => mapping.Discard(0x5000, 0)).Should().Throw<ArgumentOutOfRangeException>();
        FluentActions.Invoking(() => mapping.Discard(0x1000, 0x4000)).Should().Throw<ArgumentOutOfRangeException>();
        FluentActions.Invoking(() => mapping.Discard(0x1000, nuint.MaxValue)).Should().Throw<ArgumentOutOfRangeException>();
        mapping.Discard(1, 0x1000).Should().Be(-Errno.EINVAL);
    }

    [SkippableFact]
    public void Populated_pages_are_resident()
    {
        using HostMapping mapping = HostMapping.Anonymous(0x40000);

        int result = mapping.Populate(0, 0x40000);

        Skip.If(result == -Errno.EINVAL, "MADV_POPULATE_WRITE needs Linux 5.14");
        result.Should().Be(0);
        Smaps(mapping.Address).Should().Contain(line => line.StartsWith("Rss:", StringComparison.Ordinal) && !line.EndsWith(" 0 kB", StringComparison.Ordinal));
    }

    [Fact]
    public void Merging_and_locking_end_in_zero_or_a_known_error()
    {
        using HostMapping mapping = HostMapping.Anonymous(0x2000);

        mapping.AllowMerging().Should().BeOneOf(0, -Errno.EINVAL);
        mapping.Lock().Should().BeOneOf(0, -Errno.ENOMEM, -Errno.EPERM, -Errno.EAGAIN);
    }

    [Fact]
    public void A_disposed_mapping_is_gone_and_says_so()
    {
        HostMapping mapping = HostMapping.Shared(TwoMiB, "guest-gone-after-test");
        mapping.Dispose();
        mapping.Dispose();

        FluentActions.Invoking(() => mapping.Address).Should().Throw<ObjectDisposedException>();
        File.ReadLines("/proc/self/maps").Should().NotContain(line => line.Contains("guest-gone-after-test"));
    }

    private static string VmFlagsAt(nint address) => Smaps(address).First(line => line.StartsWith("VmFlags:", StringComparison.Ordinal));

    /// <summary>The lines of /proc/self/smaps from the mapping that starts at or holds the address.</summary>
    private static List<string> Smaps(nint address)
    {
        List<string> lines = [];
        bool inside = false;
        foreach (string line in File.ReadLines("/proc/self/smaps"))
        {
            int dash = line.IndexOf('-', StringComparison.Ordinal);
            int space = line.IndexOf(' ', StringComparison.Ordinal);
            if (dash > 0 && dash < space
                && nint.TryParse(line[..dash], System.Globalization.NumberStyles.HexNumber, null, out nint start)
                && nint.TryParse(line[(dash + 1)..space], System.Globalization.NumberStyles.HexNumber, null, out nint end))
            {
                inside = address >= start && address < end;
            }

            if (inside)
            {
                lines.Add(line);
            }
        }

        return lines;
    }
}
