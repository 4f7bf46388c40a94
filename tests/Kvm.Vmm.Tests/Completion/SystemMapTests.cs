using Kvm.Vmm.Completion;

namespace Kvm.Vmm.Tests.Completion;

public class SystemMapTests
{
    private static readonly string[] s_map =
    [
        "ffffffff81000000 T startup_64", "ffffffff81002000 t later", "ffffffff81001000 T middle", "ffffffff81001100 D data", "nonsense", "",
    ];

    [Theory]
    [InlineData(0xffffffff81000000, "startup_64+0x0")]
    [InlineData(0xffffffff81001234, "middle+0x234")]
    [InlineData(0xffffffff81002fff, "later+0xfff")]
    public void Address_is_named_by_the_function_it_is_in(ulong address, string name) => SystemMap.Nearest(s_map, address).Should().Be(name);

    [Theory]
    [InlineData(0x1000)]
    [InlineData(0xffffffffc0000000)]
    public void Address_outside_the_kernel_has_no_name(ulong address) => SystemMap.Nearest(s_map, address).Should().BeNull();

    [Fact]
    public void Map_beside_the_kernel_is_found_by_its_version()
    {
        string folder = Directory.CreateTempSubdirectory("kvmsharp-map").FullName;
        try
        {
            string kernel = Path.Combine(folder, "vmlinuz-6.1.0");
            SystemMap.Describe(kernel, 0xffffffff81001001).Should().BeNull("there is no map");
            File.WriteAllLines(Path.Combine(folder, "System.map-6.1.0"), s_map);
            SystemMap.Describe(kernel, 0xffffffff81001001).Should().Be("middle+0x1");
        }
        finally
        {
            Directory.Delete(folder, recursive: true);
        }
    }
}
