using Kvm.Manager.Memory;

namespace Kvm.Manager.Tests.Memory;

public sealed class MemorySettingTests
{
    [Fact]
    public void Settings_are_understood()
    {
        MemorySetting.Parse("fixed").Should().Be(new MemorySetting(false));
        MemorySetting.Parse("dynamic").Should().Be(new MemorySetting(true));
        MemorySetting.Parse("dynamic,min=256M,max=1G,weight=7").Should().Be(new MemorySetting(true, 256 << 20, 1 << 30, 7));
    }

    [Theory]
    [InlineData("")]
    [InlineData("fixed,min=1G")]
    [InlineData("dynamic,min=2G,max=1G")]
    [InlineData("dynamic,weight=0")]
    [InlineData("dynamic,other=1")]
    public void What_is_no_setting_is_refused(string text) => MemorySetting.Parse(text).Should().BeNull();

    [Fact]
    public void What_the_kernel_says_of_the_hosts_memory_is_read() =>
        HostMemory.Parse("MemTotal:       1024 kB\nMemFree: 1 kB\nMemAvailable:    512 kB\n", "some avg10=1.25 avg60=0.00 avg300=0.00 total=0\nfull avg10=9.00\n").Should().Be(new MemoryHost(1 << 20, 1 << 19, 1.25));
}
