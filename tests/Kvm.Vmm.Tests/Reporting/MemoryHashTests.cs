using System.Runtime.InteropServices;
using System.Text;
using Kvm.Devices.Memory;
using Kvm.Vmm.Reporting;

namespace Kvm.Vmm.Tests.Reporting;

public class MemoryHashTests
{
    [Theory]
    [InlineData("", 0xef46db3751d8e999)]
    [InlineData("a", 0xd24ec4f1a98c6e5b)]
    [InlineData("abc", 0x44bc2cf5ad770999)]
    [InlineData("Nobody inspects the spammish repetition", 0xfbcea83c8a378bf1)]
    public void Known_texts_have_their_known_hashes(string text, ulong hash) => MemoryHash.Of(Encoding.ASCII.GetBytes(text)).Should().Be(hash);

    [Fact]
    public void Regions_are_hashed_one_behind_the_other_and_every_bit_counts()
    {
        const int size = 3 << 20;
        nint host = Marshal.AllocHGlobal(size);
        try
        {
            var memory = new GuestMemory([new GuestRegion(0, 2 << 20, host), new GuestRegion(1UL << 32, 1 << 20, host + (2 << 20))]);
            memory.TrySlice(0, 2 << 20, out var low).Should().BeTrue();
            memory.TrySlice(1UL << 32, 1 << 20, out var high).Should().BeTrue();
            var random = new Random(1);
            random.NextBytes(low);
            random.NextBytes(high);
            byte[] all = [.. low, .. high];
            MemoryHash.Of(memory).Should().Be($"xxh64:{MemoryHash.Of(all):x16}");
            string before = MemoryHash.Of(memory);
            high[^1] ^= 1;
            MemoryHash.Of(memory).Should().NotBe(before);
        }
        finally
        {
            Marshal.FreeHGlobal(host);
        }
    }
}
