using System.Text;
using Kvm.Devices.Net.Metadata;
using Kvm.Vmm.Configuration;
using Kvm.Vmm.Network;

namespace Kvm.Vmm.Tests.Network;

/// <summary>How somebody asks for metadata, and what is wrong with it.</summary>
public sealed class MetadataConfigTests : IDisposable
{
    private readonly string _folder = Directory.CreateTempSubdirectory("kvmsharp-metadata").FullName;

    public void Dispose() => Directory.Delete(_folder, recursive: true);

    private static RunSettings Parse(string members) =>
        ConfigFile.Parse(Encoding.UTF8.GetBytes($$"""{"boot-source": {"kernel_image_path": "k"}, "network-interfaces": [{"iface_id": "eth0", "backend": "none"}, {"backend": "none"}], {{members}}}"""), "vm.json");

    [Fact]
    public void Firecrackers_members_are_understood_and_written_again()
    {
        var settings = Parse("""
            "mmds-config": {"version": "V2", "network_interfaces": ["eth0"], "ipv4_address": "169.254.170.2", "imds_compat": true}, "mmds": {"latest": {"a": [1, "x"]}},
            "run": {"metadata": "/tmp/m"}
            """);
        foreach (var read in (RunSettings[])[settings, ConfigFile.Parse(Encoding.UTF8.GetBytes(ConfigFile.Write(settings)), "again")])
        {
            var metadata = read.Machine.Metadata!;
            metadata.Should().BeEquivalentTo(new MetadataConfig
            {
                Path = "/tmp/m",
                Json = metadata.Json,
                Version = MetadataVersion.V2,
                Address = 0xa9fe_aa02,
                PlainOnly = true,
                Cards = ["eth0"],
            }, o => o.ComparingByMembers<MetadataConfig>());
            metadata.Json!.Replace(" ", "", StringComparison.Ordinal).ReplaceLineEndings("").Should().Be("""{"latest":{"a":[1,"x"]}}""");
            read.Machine.Networks[0].Id.Should().Be("eth0");
            (metadata.IsAt("eth0"), metadata.IsAt("net1")).Should().Be((true, false));
        }
    }

    [Fact]
    public void Default_is_version_1_at_Firecrackers_address_and_every_card()
    {
        foreach (string members in (string[])["\"mmds-config\": {}", "\"mmds\": {}", "\"mmds-config\": {\"version\": null, \"ipv4_address\": null, \"imds_compat\": null}"])
        {
            var metadata = Parse(members).Machine.Metadata!;
            (metadata.Version, metadata.AddressText, metadata.PlainOnly, metadata.IsAt("net1")).Should().Be((MetadataVersion.V1, "169.254.169.254", false, true));
        }

        Parse("\"mmds-config\": null, \"mmds\": null").Machine.Metadata.Should().BeNull();
    }

    [Theory]
    [InlineData("\"mmds-config\": {\"version\": \"V3\"}", "'version' is not one of V1, V2")]
    [InlineData("\"mmds-config\": {\"network_interfaces\": \"eth0\"}", "'network_interfaces' is not a list")]
    [InlineData("\"mmds-config\": {\"network_interfaces\": [\"eth1\"]}", "metadata is for the network card 'eth1', which there is none of")]
    [InlineData("\"mmds-config\": {\"network_interfaces\": [\"net0\"]}", "metadata is for the network card 'net0'")]
    [InlineData("\"mmds-config\": {\"ipv4_address\": \"10.0.0.1\"}", "'ipv4_address' is no address from 169.254.1.0")]
    [InlineData("\"mmds-config\": {\"ipv4_address\": \"169.254.0.5\"}", "'ipv4_address' is no address from 169.254.1.0")]
    [InlineData("\"mmds-config\": {\"ipv4_address\": \"169.254.255.5\"}", "'ipv4_address' is no address from 169.254.1.0")]
    [InlineData("\"mmds-config\": {\"ipv4_address\": \"169.254.43518\"}", "'ipv4_address' is no address from 169.254.1.0")]
    [InlineData("\"mmds-config\": {\"imds_compat\": 1}", "'imds_compat' is neither true nor false")]
    [InlineData("\"mmds\": []", "'mmds' is not an object")]
    [InlineData("\"mmds\": {\"a\": \"\\ud800\"}", "the metadata is no valid JSON")]
    public void What_cannot_be_says_where(string members, string why) =>
        FluentActions.Invoking(() => Parse(members)).Should().Throw<VmmException>().WithMessage($"*{why}*");

    [Fact]
    public void Machine_without_a_card_has_nowhere_to_ask() =>
        new VmConfig { KernelPath = "k", Metadata = new MetadataConfig() }.Validate().Should().ContainSingle().Which.Should().Contain("no network card");

    [Fact]
    public void Option_names_a_file_and_changes_what_it_says()
    {
        MetadataConfig.Parse("a,,b.json,version=V2,address=169.254.1.1", null, out var metadata).Should().BeNull();
        (metadata.Path, metadata.Version, metadata.AddressText).Should().Be(("a,b.json", MetadataVersion.V2, "169.254.1.1"));
        MetadataConfig.Parse("x", metadata with { Json = "{}", Path = null }, out var changed).Should().BeNull();
        changed.Should().Be(metadata with { Path = "x" });
        foreach (string wrong in (string[])["", ",version=V1", "x,version=v2", "x,address=1.2.3.4", "x,address=", "x,size=1"])
            MetadataConfig.Parse(wrong, null, out _).Should().NotBeNull(wrong);
    }

    [Fact]
    public void File_is_read_and_what_is_wrong_with_it_explained()
    {
        string path = Path.Combine(_folder, "m.json");
        File.WriteAllText(path, """{"name": "n"}""");
        new MetadataConfig { Path = path }.Read().Should().NotBeNull();
        new MetadataConfig().Read().Should().NotBeNull("nothing is an answer too");
        void Fails(string file, string why) => FluentActions.Invoking(() => new MetadataConfig { Path = file }.Read())
            .Should().Throw<VmmException>().WithMessage($"*{why}*").Which.Error.Should().Be(NetworkErrors.BadMetadata);
        Fails(Path.Combine(_folder, "none"), "none");
        Fails(_folder, _folder);
        Fails("/dev/zero", "1048577 bytes");
        File.WriteAllText(path, "[]");
        Fails(path, "is no object");
        File.WriteAllText(path, "{");
        Fails(path, "is no valid JSON");
    }
}
